"""What stands above right answers, counted cell by cell: ranks without sorting, and without keeping similarities."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from stages.score.examples import LEAST_SIMILAR
from stages.score.functional.blocks import cores
from stages.score.items import Pairs


class Counts:
    """One direction of retrieval, counted a block of similarities at a time.

    Args:
        pairs: of queries and their right answers.
        values: float32 (p,) the similarity of each pair.
        n_queries: Q; those without an answer are not ranked for.
        n_items: N.
        all_answers: whether every right answer counts, as average precision and nDCG ask, or only the best of each
            query, which ranks are those of.
        margins: whether `margins` will be asked for.

    Attributes:
        queries: (q,) numbers of the queries that have an answer.
        n_answers: (q,) right answers of each.
        n_items: N.
    """

    def __init__(
        self,
        pairs: Pairs,
        values: NDArray[np.float32],
        n_queries: int,
        n_items: int,
        all_answers: bool = True,
        margins: bool = True,
    ) -> None:
        starts = np.searchsorted(pairs.queries, np.arange(n_queries + 1))
        answered = np.diff(starts) > 0
        self.queries, self.n_answers, self.n_items = np.flatnonzero(answered), np.diff(starts)[answered], n_items
        order = np.lexsort((values, pairs.queries))  # thresholds ascend within a query
        self._best = np.full(n_queries, LEAST_SIMILAR, np.float32)
        self._best[self.queries] = values[order[starts[1:][answered] - 1]]
        as_best = pairs.queries[values == self._best[pairs.queries]]
        self._others = np.bincount(as_best, minlength=n_queries)[self.queries] - 1
        if not all_answers:
            order = order[starts[1:][answered] - 1]
            starts = np.concatenate([[0], np.cumsum(answered)])
        self._starts, self._all = starts, all_answers
        self._thresholds, self._items = values[order], pairs.items[order]
        self._below, self._level, self._earlier = (np.zeros(len(order), np.int64) for _ in range(3))
        self._wrong, self._margins = np.full(n_queries, LEAST_SIMILAR, np.float32), margins

    def add(
        self,
        sims: NDArray[np.float32],
        right: tuple[NDArray[np.int64], NDArray[np.int64]],
        first: int,
        columns: bool = False,
    ) -> None:
        """Counts a block.

        Args:
            sims: (rows, columns) similarities; those of pairs exactly as in `values`.
            right: row and column of each pair in the block, ascending.
            first: number of the first row.
            columns: whether the columns are the queries, and rows from `first` on some of the items; else rows from
                `first` on are some of the queries.
        """
        n = sims.shape[1 if columns else 0]
        n_parts = min(n, cores())
        edges = np.linspace(0, n, n_parts + 1).astype(int)
        from stages.score.functional import counting  # numba takes a second to import

        kernel = counting.columns if columns else counting.rows
        right_starts = np.searchsorted(right[0], np.arange(len(sims) + 1))

        def work(part: int) -> None:
            kernel(
                sims, right_starts, right[1], first, edges[part], edges[part + 1], self._starts, self._thresholds,
                self._items, self._below, self._level, self._earlier, self._wrong, self._margins,
            )  # fmt: skip

        with ThreadPoolExecutor(max(1, n_parts)) as pool:
            for _ in pool.map(work, range(n_parts)):
                pass

    def best(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As `ranking.best_places`, of the queries that have an answer."""
        last = self._starts[self.queries + 1] - 1
        return self._below[last], self._level[last] - self._others

    def places(self) -> NDArray[np.int64] | None:
        """The 0-based ranks of all right answers, ascending, query after query; of equal items the earlier first."""
        if not self._all:
            return None
        ends = np.repeat(self._starts[1:], np.diff(self._starts))
        summed = np.concatenate([[0], np.cumsum(self._below)])
        above = summed[ends] - summed[:-1]
        places: NDArray[np.int64] = above + self._earlier
        return places[np.lexsort((places, np.repeat(np.arange(len(self._starts) - 1), np.diff(self._starts))))]

    def margins(self) -> NDArray[np.float64]:
        """(Q,) by how much the best right answer is more similar than the best wrong one."""
        return (self._best - np.maximum(self._wrong, np.float32(LEAST_SIMILAR))).astype(np.float64)
