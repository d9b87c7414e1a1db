"""Average precision and nDCG of graded relevancies, both from one sort of each query's similarities.

Few items are relevant to a query, so after the sort only their ranks and relevancies are carried on. Follows
`utils/mAP.py` and `utils/nDCG.py` of audio_egovlp, save that ties among similarities have a rule here: the earlier
item ranks first. (There an unstable sort decides, so its numbers under ties are one draw among several.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.score.functional.blocks import contiguous, each_block, row_blocks
from stages.score.functional.ranking import Array, same_shape, sorted_keys, without_nan


@dataclass(frozen=True)
class GradedScores:
    """What each query scored.

    Attributes:
        average_precision: (Q,) fraction; 0 where no item has relevancy 1.
        ndcg: (Q,) fraction; nan where every relevancy is 0.
    """

    average_precision: NDArray[np.float64]
    ndcg: NDArray[np.float64]


def graded_scores(sims: Array, relevancy: Array) -> GradedScores:
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

    Raises:
        ValueError: the shapes differ, or a similarity is nan.
    """
    same_shape(sims, relevancy)
    precision, gain = np.empty(len(sims)), np.empty(len(sims))
    discount = discounts(sims.shape[1])

    def work(rows: slice) -> None:
        grades = contiguous(relevancy[rows], np.float64)
        relevant = grades != 0
        block = without_nan(contiguous(sims[rows]), rows)
        found = _Relevant.in_keys(*sorted_keys(block, relevant), grades)
        precision[rows], gain[rows] = found.average_precision(), found.ndcg(discount)

    each_block(work, *sims.shape)
    return GradedScores(precision, gain)


def scores_of_places(places: Array, counts: Array, n_items: int) -> GradedScores:
    """`graded_scores` of queries all of whose relevant items are of relevancy 1, where those stand being known.

    Args:
        places: the 0-based ranks of each query's relevant items, ascending, query after query.
        counts: (Q,) how many of them each query has, at least one.
        n_items: that are ranked.
    """
    precision, gain = np.empty(len(counts)), np.empty(len(counts))
    discount = discounts(n_items)
    ends = np.concatenate([[0], np.cumsum(counts)])
    for rows in row_blocks(len(counts), int(counts.max(initial=1))):
        some = places[ends[rows.start] : ends[rows.stop]]
        found = _Relevant(counts[rows], some, np.ones(len(some)))
        precision[rows], gain[rows] = found.average_precision(), found.ndcg(discount)
    return GradedScores(precision, gain)


def ideal_gain(grades: Array) -> NDArray[np.float64]:
    """Discounted cumulative gain of the best order of each row of relevancies (Q, N)."""
    wide = np.ascontiguousarray(grades, np.float64)
    any_order = np.broadcast_to(np.arange(wide.shape[1]), wide.shape)
    return _Relevant.in_keys(*_marked(any_order, wide != 0), wide).ideal_gain(discounts(wide.shape[1]))


def discounts(n: int) -> NDArray[np.float64]:
    """What a gain at each of the first n ranks counts: 1 / log2(1 + rank)."""
    logarithms: NDArray[np.float64] = np.log2(np.arange(n) + 2.0)
    return 1 / logarithms


class _Relevant:
    """The items of non-zero relevancy in ranked order, end to end.

    Sums are taken row by row, so their bits depend on the row alone.

    Args:
        counts: (B,) how many there are in each row.
        places: (sum of counts,) their 0-based ranks, row after row.
        grades: their relevancies.
    """

    def __init__(self, counts: Array, places: Array, grades: NDArray[np.float64]) -> None:
        self.n_rows, self.counts, self.places, self.grades = len(counts), counts, places, grades
        self.starts = np.cumsum(counts) - counts
        self.rows = np.repeat(np.arange(self.n_rows), counts)
        self.ordinals = np.arange(len(places)) - self.starts[self.rows]

    @classmethod
    def in_keys(cls, keys: NDArray[np.int64], low: int, grades: NDArray[np.float64]) -> _Relevant:
        """Finds them among all items.

        Args:
            keys: (B, N) from `sorted_keys` with the relevant items marked.
            low: their bits of items and marks.
            grades: (B, N) relevancies.
        """
        n_rows, n_columns = grades.shape
        cells = np.flatnonzero((keys.astype(np.uint8) & np.uint8(1)).view(bool))
        counts = np.diff(np.searchsorted(cells, np.arange(n_rows + 1) * n_columns))
        first_cells = np.repeat(np.arange(n_rows), counts) * n_columns
        return cls(counts, cells - first_cells, grades.take(((keys.take(cells) & low) >> 1) + first_cells))

    def ndcg(self, discount: NDArray[np.float64]) -> NDArray[np.float64]:
        """`gain` over `ideal_gain`; nan where there is none."""
        ideal = self.ideal_gain(discount)
        return np.divide(self.gain(discount), ideal, out=np.full(len(ideal), np.nan), where=ideal != 0)

    def gain(self, discount: NDArray[np.float64]) -> NDArray[np.float64]:
        """Discounted relevancies of the first ranks, as many as there are relevant items."""
        inside = self.places < self.counts[self.rows]
        return self._sum(np.where(inside, self.grades * discount[self.places], 0))

    def ideal_gain(self, discount: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of the best order."""
        best = -self.grades
        for start, count in zip(self.starts.tolist(), self.counts.tolist(), strict=True):
            best[start : start + count].sort()
        return self._sum(-best * discount[self.ordinals])

    def average_precision(self) -> NDArray[np.float64]:
        """Mean over the answers of (relevancies down to the answer / its rank)."""
        answers = np.flatnonzero(self.grades == 1)
        if not len(answers):
            return np.zeros(self.n_rows)
        rows = self.rows[answers]
        n_answers = np.bincount(rows, minlength=self.n_rows)
        ordinals = np.arange(len(answers)) - (np.cumsum(n_answers) - n_answers)[rows]
        after_last = np.where(ordinals == 0, self.starts[rows], np.roll(answers, 1) + 1)
        limits = np.stack([after_last, answers + 1], axis=1).ravel()
        summed_down = np.zeros((self.n_rows, int(n_answers.max())))
        summed_down[rows, ordinals] = np.add.reduceat(np.append(self.grades, 0.0), limits)[::2]
        np.cumsum(summed_down, axis=1, out=summed_down)
        precisions = summed_down[rows, ordinals] / (self.places[answers] + 1)
        mean: NDArray[np.float64] = np.bincount(rows, precisions, self.n_rows) / np.maximum(n_answers, 1)
        return mean

    def _sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of the values of each row."""
        result = np.zeros(self.n_rows)
        filled = self.counts > 0
        if filled.any():
            result[filled] = np.add.reduceat(values, self.starts[filled])
        return result


def _marked(ranking: Array, relevant: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """What `sorted_keys` would give for a ready ranking."""
    keys: NDArray[np.int64] = ranking.astype(np.int64) << 1
    keys |= np.take_along_axis(relevant, ranking, axis=1)
    return keys, (1 << 33) - 1
