"""Retrieval between captions and clips in mteb's metrics and its JSON of a task's result.

The metrics are pytrec_eval's, which mteb calls: relevancies are 0 or 1, of equally similar items the greater id comes
first, and an item beyond the k-th place counts as not found.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.config.experiments import ExperimentConfig
from stages.score.functional.similarity import unit_rows
from stages.score.inputs import EmbeddingReader, read_embedded, read_pairs

K_VALUES = (1, 3, 5, 10, 20, 100, 1000)
BLOCK_CELLS = 1 << 24
"""Similarities in memory at a time."""
DIRECTIONS = ("text-to-clip", "clip-to-text")
"""Names of the two directions, as `hf_subset` of the scores."""


def mteb_result(corpus: str, encoder: str, source: str, language: str) -> tuple[dict[str, Any], int]:
    """What mteb's `TaskResult` reads: metrics of both directions over all embedded clips.

    Args:
        corpus: name in params.yaml.
        encoder: that has embedded its clips and captions.
        source: caption source.
        language: of the captions, such as `eng-Latn`.

    Returns:
        The document, and how many captions were queries.

    Raises:
        UserError: nothing is embedded or paired, or a table is damaged.
    """
    started = time.perf_counter()
    config = ExperimentConfig(corpus=corpus, encoders=[encoder], captions=source)
    embedded = read_embedded(config, EmbeddingReader())
    captions = embedded.captions[source]
    pairs = read_pairs(corpus, captions.ids, embedded.clip_ids)
    if not len(pairs):
        raise UserError(f"No caption of {corpus!r} from {source!r} is paired with an embedded clip.")
    described = np.unique(pairs.queries)
    texts, clips = (unit_rows(rows[0].numpy()) for rows in (captions.rows, embedded.clips))
    sides = (texts[described], [captions.ids[row] for row in described]), (clips, embedded.clip_ids)
    links = np.searchsorted(described, pairs.queries), pairs.items
    scores = []
    both = (DIRECTIONS[0], *sides, *links), (DIRECTIONS[1], *sides[::-1], *links[::-1])
    for name, (queries, _), (gallery, ids), query_of, item_of in both:
        values = retrieval_scores(queries, gallery, ids, query_of, item_of)
        scores.append({**values, "main_score": values["ndcg_at_10"], "hf_subset": name, "languages": [language]})
    document = {
        "dataset_revision": "1.0.0",
        "task_name": f"{corpus}Retrieval",
        "mteb_version": _mteb_version(),
        "scores": {"test": scores},
        "evaluation_time": round(time.perf_counter() - started, 3),
        "kg_co2_emissions": None,
        "date": datetime.now(UTC).isoformat(),
    }
    return document, len(described)


def retrieval_scores(
    queries: NDArray[np.float64],
    gallery: NDArray[np.float64],
    ids: Sequence[str],
    query_of: NDArray[np.integer[Any]],
    item_of: NDArray[np.integer[Any]],
) -> dict[str, float]:
    """nDCG, MAP, recall, precision, MRR and hit rate at each of `K_VALUES`, means over queries with a relevant item.

    Args:
        queries: unit rows (q, dim).
        gallery: unit rows (n, dim).
        ids: of the gallery, which decide between equally similar items.
        query_of: (p,) of each relevant pair the query.
        item_of: (p,) and the item.
    """
    names = pl.Series(ids, dtype=pl.String)
    order = names.to_frame("id").with_row_index("row").sort("id", descending=True)["row"].to_numpy()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    gallery = gallery[order]
    k_max = min(max(K_VALUES), len(gallery))
    asked = np.unique(query_of)
    sorted_pairs = np.lexsort((item_of, query_of))
    firsts = np.searchsorted(query_of[sorted_pairs], [asked, asked + 1])
    totals: dict[str, float] = {}
    block = max(1, BLOCK_CELLS // len(gallery))
    for start in range(0, len(asked), block):
        some = asked[start : start + block]
        sims = np.asarray(queries[some] @ gallery.T, np.float32)
        for row, at in enumerate(range(start, start + len(some))):
            relevant = np.zeros(len(gallery), bool)
            relevant[place[item_of[sorted_pairs[firsts[0, at] : firsts[1, at]]]]] = True
            found = relevant[_best(sims[row], k_max)]
            for name, value in _of_query(found, int(relevant.sum())).items():
                totals[name] = totals.get(name, 0.0) + value
    return {name: total / len(asked) for name, total in totals.items()}


def _best(sims: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Positions of the most similar items, of equal ones the earlier first."""
    if count < len(sims):
        least = np.partition(sims, len(sims) - count)[len(sims) - count]
        kept = np.flatnonzero(sims >= least)
        return kept[np.argsort(-sims[kept], kind="stable")][:count]
    return np.argsort(-sims, kind="stable")


def _of_query(found: NDArray[np.bool_], n_relevant: int) -> dict[str, float]:
    """The metrics of one query by which of its first items are relevant."""
    ranks = np.flatnonzero(found) + 1
    gains, ideal = 1 / np.log2(ranks + 1), np.cumsum(1 / np.log2(np.arange(1, n_relevant + 1) + 1))
    values: dict[str, float] = {}
    for k in K_VALUES:
        hits = int(np.searchsorted(ranks, k, side="right"))
        values[f"ndcg_at_{k}"] = float(gains[:hits].sum() / ideal[min(k, n_relevant) - 1])
        values[f"map_at_{k}"] = float((np.arange(1, hits + 1) / ranks[:hits]).sum() / n_relevant)
        values[f"recall_at_{k}"] = hits / n_relevant
        values[f"precision_at_{k}"] = hits / k
        values[f"mrr_at_{k}"] = float(1 / ranks[0]) if hits else 0.0
        values[f"hit_rate_at_{k}"] = float(hits > 0)
    return values


def _mteb_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mteb")
    except PackageNotFoundError:
        return None
