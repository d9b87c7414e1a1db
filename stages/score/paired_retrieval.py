"""Protocol `paired-retrieval`: each caption is paired with one or more clips; both directions are ranked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.score import metrics
from stages.score.at_scale.tally import Tally
from stages.score.graded import GradedScores, graded_scores
from stages.score.ranking import Array, ranks_of_best
from stages.score.transforms import Directed

METRICS = ("R@1", "R@5", "R@10", "MedR", "MeanR", "mAP", "nDCG")


@dataclass(frozen=True)
class DirectionResult:
    """What one direction scored.

    Attributes:
        queries: (q,) numbers of the queries that have an answer.
        ranks: (q,) 1-based rank of the best paired item; the mean of its places where similarities tie.
        average_precision: (q,) fraction.
        ndcg: (q,) fraction.
        n_items: items ranked.
        values: name of metric -> value; R@k in percent, mAP and nDCG as fractions.
        chance: the same for a ranking drawn at random, exactly.
    """

    queries: NDArray[np.int64]
    ranks: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    n_items: int
    values: dict[str, float]
    chance: dict[str, float]


def score(sims: Directed, paired: NDArray[np.bool_]) -> dict[str, DirectionResult]:
    """Ranks clips for captions and captions for clips.

    Args:
        sims: (captions, clips) similarities.
        paired: (captions, clips), True where the caption describes the clip.

    Returns:
        Results of `text_to_clip` and `clip_to_text`.
    """
    return {
        "text_to_clip": _direction(sims.text_to_clip, paired),
        "clip_to_text": _direction(np.ascontiguousarray(sims.clip_to_text.T), np.ascontiguousarray(paired.T)),
    }


def score_counted(text_to_clip: Tally, clip_to_text: Tally) -> dict[str, DirectionResult]:
    """The same from counts of all pairs, where the matrix does not fit into memory."""
    return {
        direction: _result(
            tally.queries(), tally.ranks("mean"), tally.graded(), np.bincount(tally.pairs.queries), tally.n_items
        )
        for direction, tally in (("text_to_clip", text_to_clip), ("clip_to_text", clip_to_text))
    }


def _direction(sims: Array, paired: NDArray[np.bool_]) -> DirectionResult:
    answered = paired.any(axis=1)
    sims, paired = sims[answered], paired[answered]
    graded = graded_scores(sims, paired.astype(np.float64))
    return _result(np.flatnonzero(answered), ranks_of_best(sims, paired), graded, paired.sum(axis=1), sims.shape[1])


def _result(
    queries: NDArray[np.int64],
    ranks: NDArray[np.float64],
    graded: GradedScores,
    n_answers: NDArray[np.int64],
    n_items: int,
) -> DirectionResult:
    values = metrics.retrieval_metrics(ranks)
    values |= {"mAP": metrics.mean_scored(graded.average_precision), "nDCG": metrics.mean_scored(graded.ndcg)}
    return DirectionResult(
        queries,
        ranks,
        graded.average_precision,
        graded.ndcg,
        n_items,
        {name: float(values[name]) for name in METRICS},
        {name: float(value) for name, value in metrics.chance(n_answers[n_answers > 0], n_items).items()},
    )
