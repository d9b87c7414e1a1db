"""Protocol `paired-retrieval`: each caption is paired with one or more clips; both directions are ranked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.score import metrics
from stages.score.graded import graded_scores
from stages.score.ranking import order, ranks_of_best, within

DIRECTIONS = ("text_to_clip", "clip_to_text")
METRICS = ("R@1", "R@5", "R@10", "MedR", "MeanR", "mAP", "nDCG")


@dataclass(frozen=True)
class DirectionResult:
    """What one direction and subset scored.

    Attributes:
        queries: (q,) numbers of the queries in the similarity matrix.
        ranks: (q,) 1-based rank of the best paired item; the mean of its places where similarities tie.
        average_precision: (q,) fraction.
        ndcg: (q,) fraction.
        n_relevant: (q,) paired items in the subset.
        n_items: items ranked.
        values: name of metric -> value; R@k in percent, mAP and nDCG as fractions.
        chance: the same for a ranking drawn at random, exactly.
    """

    queries: NDArray[np.int64]
    ranks: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    n_relevant: NDArray[np.int64]
    n_items: int
    values: dict[str, float]
    chance: dict[str, float]


class PairedRetrieval:
    """Ranks once, then scores any subset of the clips.

    Args:
        sims: float32 (captions, clips) similarities.
        paired: (captions, clips), True where the caption describes the clip.
    """

    def __init__(self, sims: NDArray[np.float32], paired: NDArray[np.bool_]) -> None:
        self._sims = {"text_to_clip": sims, "clip_to_text": np.ascontiguousarray(sims.T)}
        self._paired = {"text_to_clip": paired, "clip_to_text": np.ascontiguousarray(paired.T)}
        self._order = {direction: order(self._sims[direction]) for direction in DIRECTIONS}

    def score(self, clips: NDArray[np.bool_]) -> dict[str, DirectionResult]:
        """Scores a subset: its clips against the captions that are paired with any of them.

        Args:
            clips: (clips,), True for members.
        """
        captions = self._paired["text_to_clip"][:, clips].any(axis=1)
        chosen = {"text_to_clip": (captions, clips), "clip_to_text": (clips, captions)}
        return {direction: self._direction(direction, *chosen[direction]) for direction in DIRECTIONS}

    def _direction(self, direction: str, queries: NDArray[np.bool_], items: NDArray[np.bool_]) -> DirectionResult:
        sims = self._sims[direction][np.ix_(queries, items)]
        paired = self._paired[direction][np.ix_(queries, items)]
        answered = paired.any(axis=1)
        numbers = np.flatnonzero(queries)[answered]
        sims, paired = sims[answered], paired[answered]
        ranking = within(self._order[direction][numbers], items)
        ranks = ranks_of_best(sims, paired)
        relevancy = paired.astype(np.float64)
        graded = graded_scores(sims, relevancy, ranking)
        values = metrics.retrieval_metrics(ranks)
        values |= {"mAP": metrics.mean_scored(graded.average_precision), "nDCG": metrics.mean_scored(graded.ndcg)}
        counts = paired.sum(axis=1)
        return DirectionResult(
            numbers,
            ranks,
            graded.average_precision,
            graded.ndcg,
            counts,
            int(items.sum()),
            {name: float(values[name]) for name in METRICS},
            {name: float(value) for name, value in metrics.chance(counts, int(items.sum())).items()},
        )
