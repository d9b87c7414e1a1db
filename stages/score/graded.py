"""Average precision and nDCG of graded relevancies, both from one sort of each query's similarities.

Few items are relevant to a query, so after the sort only their ranks and relevancies are carried on. Follows
`utils/mAP.py` and `utils/nDCG.py` of audio_egovlp, save that ties among similarities have a rule here: the earlier
item ranks first. (There an unstable sort decides, so its numbers under ties are one draw among several.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.score.blocks import each_block
from stages.score.ranking import Array, order_block, same_shape, without_nan


@dataclass(frozen=True)
class GradedScores:
    """What each query scored.

    Attributes:
        average_precision: (Q,) fraction; 0 where no item has relevancy 1.
        ndcg: (Q,) fraction; nan where every relevancy is 0.
    """

    average_precision: NDArray[np.float64]
    ndcg: NDArray[np.float64]


def graded_scores(sims: Array, relevancy: Array, ranking: NDArray[np.int32] | None = None) -> GradedScores:
    """Average precision and normalised discounted cumulative gain of each query.

    Average precision: only items of relevancy exactly 1 are answers. The precision at each answer is the sum of
    the *graded* relevancies down to it over its rank, so partly relevant items ranked above it help. A query
    without an answer scores 0 (and counts in a mean), as in the reference, which warns.

    nDCG: the gain of an item is its relevancy over log2(1 + rank), summed over the first K ranks, K being the
    number of items of non-zero relevancy, over the same sum for the ideal order. A query with none is nan, as in
    the reference (where it makes the mean nan).

    Args:
        sims: (Q, N) similarities; may be a transposed view.
        relevancy: (Q, N) in 0..1; likewise.
        ranking: `ranking.order(sims)` where the caller has it already.

    Raises:
        ValueError: the shapes differ, or a similarity is nan.
    """
    same_shape(sims, relevancy)
    precision, gain = np.empty(len(sims)), np.empty(len(sims))
    discount = discounts(sims.shape[1])

    def work(rows: slice) -> None:
        grades = np.ascontiguousarray(relevancy[rows], np.float64)
        if ranking is None:
            ranked = order_block(without_nan(np.ascontiguousarray(sims[rows]), rows))
        else:
            ranked = ranking[rows].astype(np.int64)
        ranked += (np.arange(len(grades)) * grades.shape[1])[:, None]
        found = _Relevant(grades.take(ranked))
        precision[rows], gain[rows] = found.average_precision(), found.gain(discount)
        ideal = _ideal(grades).gain(discount)
        gain[rows] = np.divide(gain[rows], ideal, out=np.full(len(ideal), np.nan), where=ideal != 0)

    each_block(work, *sims.shape)
    return GradedScores(precision, gain)


def ideal_gain(grades: Array) -> NDArray[np.float64]:
    """Discounted cumulative gain of the best order of each row of relevancies (Q, N)."""
    return _ideal(np.asarray(grades, np.float64)).gain(discounts(grades.shape[1]))


def discounts(n: int) -> NDArray[np.float64]:
    """What a gain at each of the first n ranks counts: 1 / log2(1 + rank)."""
    logarithms: NDArray[np.float64] = np.log2(np.arange(n) + 2.0)
    return 1 / logarithms


class _Relevant:
    """The non-zero relevancies of rows in ranked order, end to end, with their places and rows.

    Sums run over these in order of rank, so their bits depend on the row alone.
    """

    def __init__(self, ranked: NDArray[np.float64]) -> None:
        self.n_rows, n_columns = ranked.shape
        cells, self.counts = _nonzero(ranked)
        self.rows = np.repeat(np.arange(self.n_rows), self.counts)
        self.places = cells - self.rows * n_columns
        self.grades = ranked.take(cells)

    def gain(self, discount: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = np.flatnonzero(self.places < self.counts[self.rows])
        gains = self.grades[inside] * discount[self.places[inside]]
        summed: NDArray[np.float64] = np.bincount(self.rows[inside], gains, self.n_rows).astype(np.float64)
        return summed

    def average_precision(self) -> NDArray[np.float64]:
        answers = np.flatnonzero(self.grades == 1)
        rows = self.rows[answers]
        precisions = self._summed_down()[answers] / (self.places[answers] + 1)
        return np.bincount(rows, precisions, self.n_rows) / np.maximum(np.bincount(rows, minlength=self.n_rows), 1)

    def _summed_down(self) -> NDArray[np.float64]:
        """Sum of the relevancies of a row down to each one."""
        inside, padded = _padded(self.counts, self.grades)
        summed: NDArray[np.float64] = np.cumsum(padded, axis=1, out=padded)[inside]
        return summed


def _ideal(grades: NDArray[np.float64]) -> _Relevant:
    cells, counts = _nonzero(grades)
    _, padded = _padded(counts, -grades.take(cells))
    padded.sort(axis=1)
    return _Relevant(-padded)


def _nonzero(matrix: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat positions of the cells that are not zero, and how many each row has."""
    n_rows, n_columns = matrix.shape
    cells = np.flatnonzero(matrix != 0)
    return cells, np.diff(np.searchsorted(cells, np.arange(n_rows + 1) * n_columns))


def _padded(counts: Array, values: Array) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Rows of so many values as a matrix, zeros behind them, and where it holds values."""
    inside = np.arange(counts.max(initial=0)) < counts[:, None]
    padded = np.zeros(inside.shape)
    padded[inside] = values
    return inside, padded
