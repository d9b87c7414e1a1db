"""Protocol `avlnet`: recall and median rank between what AVLnet embeds of a clip, ties by a rule of one's choice."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.experiments import ExperimentConfig
from pipeline.networks.avlnet_retrieval import SIDES, direction, retrieval
from pipeline.networks.avlnet_shape import Variant
from pipeline.runner.rows import pair_ids
from stages.score.functional import metrics
from stages.score.inputs import EmbeddingReader, NothingToScore, embedded_rows, matches
from stages.score.items import Items, Measure, Pairs, StoredRows
from stages.score.retrieval import Ranked, Retrieval
from stages.score.scored import Queries, Scored, intervals

METRICS = ("R@1", "R@5", "R@10", "MedR")
Ties = Literal["mean", "optimistic", "pessimistic", "several-ranks"]


class AvlNetScorer:
    """Sound, text, or both together against pictures, and text against sound and picture.

    Which of them follows from what the encoder has embedded: A->V and V->A (AVLnet), T->A+V (AVLnet-Text-Tri) or T+A->V
    (AVLnet-Text-Fused) and the way back. Similarities are dot products. Clips that lack a side are left out, and count
    as mistakes where the experiment says how many queries there are.

    Args:
        config: of the experiment.
        reader: of embedding caches.

    Raises:
        NothingToScore: nothing is embedded.
        UserError: a table or an embedding cache cannot be read.
    """

    def __init__(self, config: ExperimentConfig, reader: EmbeddingReader) -> None:
        if len(config.encoders) != 1:
            raise UserError("Protocol avlnet takes one encoder.")
        self._config, self._reader = config, reader
        self._variant = variant_of(
            {path.stem for path in layout.embeddings(config.corpus, config.encoders[0], "any").parent.glob("*.zarr")},
            f"data/embeddings/{config.corpus}/{config.encoders[0]}",
        )
        queries, items = SIDES[self._variant]
        self._clips = schemas.read_table(layout.table(config.corpus, "clips"), schemas.CLIPS)["clip_id"]
        self._pairs_of_ids = self._read_pairs()
        query_ids, query_rows = self._embedded(queries)
        item_ids, item_rows = self._embedded(items)
        self.n_clips_missing = len(self._clips) - len(item_ids)
        if item_ids.is_empty() or query_ids.is_empty():
            raise NothingToScore(
                f"Corpus {config.corpus!r} has {len(query_ids)} queries and {len(item_ids)} items embedded "
                f"by {config.encoders[0]}: there is nothing to score (see `hearonce problems`)."
            )
        self._names = (direction(queries, items), direction(items, queries))
        pairs = self._belonging(query_ids, item_ids)
        queried, query = np.unique(pairs.queries, return_inverse=True)
        found, item = np.unique(pairs.items, return_inverse=True)
        self._query_ids, self._item_ids = query_ids.gather(queried).to_list(), item_ids.gather(found).to_list()
        self._pairs = Pairs(query, item)
        self._retrieval = Retrieval(
            Items([[rows.only(queried) for rows in query_rows]]),
            Items([[rows.only(found) for rows in item_rows]]),
            Measure(cosine=False),
            self._pairs,
        )

    def _read_pairs(self) -> pl.DataFrame:
        """Clip and caption of the experiment's caption source."""
        if self._variant == "bi":
            return schemas.table([], schemas.PAIRS)
        captions = schemas.read_table(layout.table(self._config.corpus, "captions"), schemas.CAPTIONS)
        (source,) = self._config.sources()
        pairs = schemas.read_table(layout.table(self._config.corpus, "pairs"), schemas.PAIRS)
        return pairs.filter(
            pl.col("caption_id").is_in(captions.filter(pl.col("source") == source)["caption_id"].implode())
        )

    def _embedded(self, sides: tuple[str, ...]) -> tuple[pl.Series, list[StoredRows]]:
        """Ids that all these sides have embedded, in table order, and their rows of each."""
        opened = [
            self._reader.open(layout.embeddings(self._config.corpus, self._config.encoders[0], one)) for one in sides
        ]
        return embedded_rows(opened, self._ids(sides[0]))

    def _ids(self, side: str) -> pl.Series:
        if side == "text":
            return self._pairs_of_ids["caption_id"].unique(maintain_order=True)
        if side == "sound_text":
            return pair_ids(self._pairs_of_ids)
        return self._clips

    def _belonging(self, query_ids: pl.Series, item_ids: pl.Series) -> Pairs:
        """Which queries and items belong together, by number."""
        table = self._pairs_of_ids
        if self._variant == "bi":
            queries, items = self._clips, self._clips
        else:
            queries, items = table["caption_id"] if self._variant == "tri" else pair_ids(table), table["clip_id"]
        numbers = matches(queries, query_ids), matches(items, item_ids)
        known = (numbers[0] >= 0) & (numbers[1] >= 0)
        return Pairs.of(numbers[0][known], numbers[1][known])

    def score(self, members: Collection[str] | None = None) -> dict[str, Scored]:
        """Scores the clips against the queries that belong to any of them."""
        items = np.array([members is None or one in members for one in self._item_ids])
        queries = np.zeros(len(self._query_ids), bool)
        queries[self._pairs.queries[items[self._pairs.items]]] = True
        if not queries.any():
            raise NothingToScore("no clip of the subset is embedded together with a query that belongs to it")
        ids = [
            [names[number] for number in np.flatnonzero(some)]
            for names, some in ((self._query_ids, queries), (self._item_ids, items))
        ]
        ranked = self._retrieval.ranked(queries, items, graded=False)
        return {
            name: scored(one, own, self._config.ties, self._config.query_count)
            for name, own, one in zip(self._names, ids, ranked, strict=True)
        }

    def examples(self, directions: Mapping[str, Scored]) -> list[dict[str, Any]]:
        """Queries that found their clip first, and last."""
        return self._retrieval.best_and_worst(directions[self._names[0]].ranks(), self._query_ids, self._item_ids)

    def heatmap(self) -> dict[str, NDArray[Any]]:
        """A sample of the similarities, each query on the row of its clip."""
        return self._retrieval.heatmap(self._query_ids, self._item_ids)


def scored(ranked: Ranked, ids: list[str], ties: Ties, count: int | None = None) -> Scored:
    """R@1, R@5, R@10 (percent) and MedR of one direction.

    Args:
        ranked: each query has a right item.
        ids: of the queries.
        ties: which rank counts where items are exactly as similar as the right one: as in `ranking.ranks_of_best`, or
            `several-ranks`, the rule of AVLnet's authors: each of them (see `avlnet_retrieval.retrieval`).
        count: queries that recall is a fraction of; those that are not embedded count as mistakes. The median rank is
            over those that are, as the authors have it.
    """
    share = 1.0 if count is None else len(ranked.queries) / count

    def shared(numbers: Mapping[str, float]) -> dict[str, float]:
        return {name: value * (share if name.startswith("R@") else 1.0) for name, value in numbers.items()}

    chance = shared(metrics.chance(ranked.n_answers, ranked.n_items))
    if ties == "several-ranks":
        ranks = ranked.ranks("optimistic")
        values = retrieval(ranks, ranked.ranks("pessimistic"), count)
    else:
        ranks = ranked.ranks(ties)
        values = shared(metrics.retrieval_metrics(ranks))
    values = {name: float(values[name]) for name in METRICS}
    queries = {"queries": Queries(ids, ranks)}
    found = intervals(values, queries) if ties != "several-ranks" and count is None else {}
    return Scored(queries, ranked.n_items, values, {name: float(chance[name]) for name in METRICS}, intervals=found)


def variant_of(sides: Collection[str], where: str) -> Variant:
    """Which AVLnet has embedded these sides.

    Raises:
        UserError: none has.
    """
    for variant in ("fused", "tri", "bi"):
        queries, items = SIDES[variant]
        if set(queries + items) <= set(sides):
            return variant
    raise UserError(
        f"{where} holds no sides of AVLnet (found {', '.join(sorted(sides)) or 'nothing'}): run `dvc repro`, or "
        "`hearonce embed`."
    )
