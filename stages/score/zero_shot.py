"""Protocol `zero-shot-classification`: which class is a clip of, by the similarity with the texts of all classes.

A class is the mean of the embeddings of its prompts, each of unit length before (as CLIP ensembles them, Radford et
al. 2021, section 3.1.4). Clips rank classes: top-1, top-5 and LAION-CLAP's mAP@10; classes rank clips: mAP, the macro
average. Where clips are in folds there are mean and deviation over these, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.config.classes import FOLD, LABELS, caption_id, class_of, is_of_classes
from pipeline.config.experiments import ExperimentConfig
from pipeline.config.subsets import read_extended
from stages.score import examples
from stages.score.functional import metrics
from stages.score.functional.blocks import submatrix
from stages.score.functional.classification import chance_reciprocal_at, class_average_precision, shares
from stages.score.functional.similarity import unit_rows
from stages.score.functional.transforms import Directed, transform_of
from stages.score.inputs import Captions, Embedded, EmbeddingReader, NothingToScore, read_embedded, read_pairs
from stages.score.items import Measure
from stages.score.retrieval import (
    BYTES_PER_CELL,
    GIB,
    MEMORY_VARIABLE,
    Ranked,
    rank_rows,
    score_memory,
    unbroken,
)
from stages.score.scored import Queries, Scored, intervals, per_query

TOP = (1, 5)
RECIPROCAL = 10
CLIPS_AT_A_TIME = 4096
FOLDED = ("top-1", "top-5", "mAP")


class ZeroShotScorer:
    """Clips rank the classes, and classes the clips.

    Args:
        config: of the experiment.
        reader: of embedding caches.

    Raises:
        NothingToScore: no embedded clip has an embedded class.
        UserError: a table or an embedding cache cannot be read, captions are no texts of classes, or similarities do
            not fit into memory.
    """

    def __init__(self, config: ExperimentConfig, reader: EmbeddingReader) -> None:
        for source in config.sources():
            if not is_of_classes(source):
                raise UserError(
                    f"Protocol zero-shot-classification compares clips with texts of classes, which caption source "
                    f"{source!r} does not hold: name `{LABELS}` or `{LABELS}@PROMPTS` in `captions:` of "
                    f"{config.name!r} (docs/scoring.md)."
                )
        embedded = read_embedded(config, reader)
        texts = [_by_class(embedded.captions[source], source) for source in config.sources()]
        names = [name for name in texts[0] if all(name in one for one in texts)]
        pairs = read_pairs(config.corpus, [caption_id(name) for name in names], embedded.clip_ids)
        if not len(pairs):
            raise NothingToScore(f"No embedded clip of {config.corpus!r} has a class with an embedded text.")
        self._names, self._clip_ids = names, embedded.clip_ids
        self._members = pairs.mask(len(names), len(embedded.clip_ids))
        self.n_clips_missing = embedded.n_clips_missing + _n_without_text(config.corpus, embedded.clip_ids, names)
        self._sims = _similarities(config, embedded, [[one[name] for name in names] for one in texts])
        self._transform = config.transform
        self._folds = _folds(config.corpus, embedded.clip_ids)

    def score(self, members: AbstractSet[str] | None = None) -> dict[str, Scored]:
        """Scores the clips, among the classes that any of them is of."""
        clips = np.array([members is None or one in members for one in self._clip_ids])
        classes = self._members[:, clips].any(axis=1)
        if not classes.any():
            raise NothingToScore("no clip of the subset is embedded and of a class with an embedded text")
        right = submatrix(self._members, classes, clips)
        sims = submatrix(self._sims, classes, clips)
        directed: Directed = transform_of(self._transform)(sims, np.ones(len(sims), np.int64))
        names = [self._names[row] for row in np.flatnonzero(classes)]
        ids = [self._clip_ids[column] for column in np.flatnonzero(clips)]
        to_class = rank_rows(np.ascontiguousarray(directed.clip_to_text.T), np.ascontiguousarray(right.T), graded=False)
        to_clip = rank_rows(directed.text_to_clip, right, graded=False)
        precision = class_average_precision(directed.text_to_clip, right)
        result = {
            "clip_to_class": _clip_to_class(to_class, right, names, ids),
            "class_to_clip": _class_to_clip(to_clip, precision, names),
        }
        folds = _over_folds(self._folds[clips], result["clip_to_class"], to_class, directed.text_to_clip, right)
        return result | ({"folds": folds} if folds else {})

    def examples(self, directions: Mapping[str, Scored]) -> list[dict[str, Any]]:
        """Clips whose class is found first with the greatest lead, and last, with the classes on top."""
        labelled = np.flatnonzero(self._members.any(axis=0))
        sims, right = self._sims[:, labelled].T, self._members[:, labelled].T
        ranks = directions["clip_to_class"].ranks()
        found = []
        for kind, one in examples.ends(ranks, examples.margins(sims, right)):
            own = " / ".join(self._names[row] for row in np.flatnonzero(right[one]))
            best = np.argsort(-sims[one], kind="stable")[: examples.N_TOP]
            top = [(self._names[row], sims[one, row], bool(right[one, row])) for row in best]
            found.append(examples.record(kind, own, float(ranks[one]), self._clip_ids[labelled[one]], top))
        return found

    def heatmap(self) -> dict[str, NDArray[Any]]:
        """A sample of the similarities, each class on the row of its first clip."""
        return examples.heatmap(self._sims, self._members, self._names, self._clip_ids)


def class_embeddings(rows: NDArray[np.float64], of_class: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """The embedding of each class: the mean of those of its texts, each of unit length before.

    Args:
        rows: (m, dim) embeddings of texts.
        of_class: for each of C classes the rows of its texts.

    Returns:
        (C, dim); their lengths are 1 only where a class has one text.
    """
    units = unit_rows(rows)
    return np.stack([units[list(own)].mean(axis=0) for own in of_class])


def _by_class(captions: Captions, source: str) -> dict[str, list[int]]:
    """The rows of each class's texts, in table order."""
    found: dict[str, list[int]] = {}
    for row, one in enumerate(captions.ids):
        found.setdefault(class_of(one, source), []).append(row)
    return found


def _similarities(
    config: ExperimentConfig, embedded: Embedded, of_class: Sequence[Sequence[Sequence[int]]]
) -> NDArray[np.float32]:
    """Cosines (classes, clips), of several encoders their weighted mean; clips are read some at a time.

    Raises:
        UserError: they do not fit into memory.
    """
    n_classes, n_clips = len(of_class[0]), len(embedded.clip_ids)
    needed, memory = float(BYTES_PER_CELL) * n_classes * n_clips, score_memory()
    if needed > memory:
        raise UserError(
            f"Classification of {n_clips:,} clips by {n_classes:,} classes needs their similarities in memory, about "
            f"{needed / GIB:,.1f} GiB, and scoring may take {memory / GIB:.1f} GiB: set {MEMORY_VARIABLE} to more GiB."
        )
    classes = [
        class_embeddings(np.asarray(embedded.captions[source].rows[at].numpy(), np.float64), of_class[at])
        for at, source in enumerate(config.sources())
    ]
    measure = Measure(True, tuple(config.weights or [1.0] * len(classes)))
    sims = np.empty((n_classes, n_clips), np.float32)
    for start in range(0, n_clips, CLIPS_AT_A_TIME):
        some = slice(start, start + CLIPS_AT_A_TIME)
        block = unbroken([np.asarray(rows.numpy(some), np.float64) for rows in embedded.clips], start)
        sims[:, some] = measure.matrix(classes, block)
    return sims


def _n_without_text(corpus: str, clips: Sequence[str], names: Sequence[str]) -> int:
    """How many of these clips are of classes none of which has an embedded text."""
    pairs = read_extended(corpus, "pairs").filter(pl.col("caption_id").str.starts_with(f"{LABELS}:"))
    pairs = pairs.filter(pl.col("clip_id").is_in(list(clips)))
    known = pl.Series([caption_id(name) for name in names], dtype=pl.String)
    with_text = pairs.filter(pl.col("caption_id").is_in(known.implode()))
    return pairs["clip_id"].n_unique() - with_text["clip_id"].n_unique()


def _folds(corpus: str, clips: Sequence[str]) -> NDArray[np.int64]:
    """(n,) the number of the fold that each clip is in, -1 where it is in none."""
    table = read_extended(corpus, "subsets").filter((pl.col("kind") == "clip") & pl.col("subset").str.starts_with(FOLD))
    numbers = {name: number for number, name in enumerate(table["subset"].unique(maintain_order=True))}
    of_clip = {clip: numbers[fold] for fold, clip in table.select("subset", "id").iter_rows()}
    return np.array([of_clip.get(one, -1) for one in clips], np.int64)


def _clip_to_class(ranked: Ranked, right: NDArray[np.bool_], names: Sequence[str], ids: Sequence[str]) -> Scored:
    """Accuracies in percent, ranks and mAP@10, which is defined where each clip has one class.

    Args:
        ranked: classes ranked by clips.
        right: (classes, clips).
        names: of the classes.
        ids: of all clips; those without a class are no queries.
    """
    ranks, own = ranked.ranks("mean"), right[:, ranked.queries]
    of_class = shares(metrics.hits_at(ranks, 1), own)
    n_classes = len(names)
    queries = {
        "clips": Queries([ids[query] for query in ranked.queries], ranks),
        "classes": Queries(list(names), correct=of_class),
    }
    values = {f"top-{k}": metrics.recall_at(ranks, k) for k in TOP}
    values |= {"macro top-1": 100.0 * metrics.mean_scored(of_class)}
    values |= {"MedR": metrics.median_rank(ranks), "MeanR": metrics.mean_rank(ranks)}
    random = metrics.chance(ranked.n_answers, n_classes, ks=TOP)
    chance = {f"top-{k}": random[f"R@{k}"] for k in TOP} | {name: random[name] for name in ("MedR", "MeanR")}
    chance["macro top-1"] = 100.0 * metrics.mean_scored(shares(ranked.n_answers / n_classes, own))
    if (ranked.n_answers == 1).all():
        name = f"mAP@{RECIPROCAL}"
        column = per_query(name, queries["clips"])
        assert column is not None
        values[name] = metrics.mean_scored(column)
        chance[name] = chance_reciprocal_at(ranked.n_answers, n_classes, RECIPROCAL)
    classes = {name: {"top-1": 100.0 * value} for name, value in zip(names, of_class, strict=True)}
    return Scored(queries, n_classes, values, chance, classes, intervals(values, queries))


def _class_to_clip(ranked: Ranked, precision: NDArray[np.float64], names: Sequence[str]) -> Scored:
    """mAP, the mean over classes of average precision, as a fraction."""
    queries = {"classes": Queries(list(names), ranked.ranks("mean"), precision)}
    values = {"mAP": metrics.mean_scored(precision)}
    chance = {"mAP": metrics.chance(ranked.n_answers, ranked.n_items)["mAP"]}
    classes = {name: {"mAP": float(value)} for name, value in zip(names, precision, strict=True)}
    return Scored(queries, ranked.n_items, values, chance, classes, intervals(values, queries))


def _over_folds(
    folds: NDArray[np.int64], scored: Scored, ranked: Ranked, sims: NDArray[Any], right: NDArray[np.bool_]
) -> Scored | None:
    """Mean and sample standard deviation (n - 1) over the folds; None where clips are in fewer than two.

    Args:
        folds: (clips,) numbers, -1 for clips in none.
        scored: numbers of the clips.
        ranked: classes ranked by clips.
        sims: (classes, clips), by which classes rank clips.
        right: (classes, clips).
    """
    clips, rows = scored.queries["clips"], []
    for fold in np.unique(folds[ranked.queries]):
        if fold < 0:
            continue
        own = folds[ranked.queries] == fold
        columns = [column[own] for k in TOP if (column := per_query(f"top-{k}", clips)) is not None]
        inside = folds == fold
        precision = class_average_precision(sims[:, inside], right[:, inside])
        rows.append([*(float(column.mean()) for column in columns), metrics.mean_scored(precision)])
    if len(rows) < 2:
        return None
    means, deviations = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
    values: dict[str, float] = {}
    for name, mean, deviation in zip(FOLDED, means, deviations, strict=True):
        values |= {name: float(mean), f"{name} SD": float(deviation)}
    return Scored({}, 0, values)
