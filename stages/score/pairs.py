"""Which rows of two sides belong together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.score.ranking import Array


@dataclass(frozen=True, eq=False)
class Pairs:
    """Which items answer which queries.

    Attributes:
        queries: (p,) numbers, ascending.
        items: (p,) numbers, ascending within a query.
    """

    queries: NDArray[np.int64]
    items: NDArray[np.int64]

    @staticmethod
    def of(queries: Array, items: Array) -> Pairs:
        """Brings pairs in any order, perhaps with repetitions, into theirs."""
        order = np.lexsort((items, queries))
        queries, items = np.asarray(queries, np.int64)[order], np.asarray(items, np.int64)[order]
        first = np.ones(len(queries), bool)
        first[1:] = (np.diff(queries) != 0) | (np.diff(items) != 0)
        return Pairs(queries[first], items[first])

    def __len__(self) -> int:
        return len(self.queries)

    def turned(self) -> tuple[Pairs, NDArray[np.int64]]:
        """The other direction, and which of these pairs each of its pairs is."""
        order = np.lexsort((self.queries, self.items))
        return Pairs(self.items[order], self.queries[order]), order

    def only(self, queries: NDArray[np.bool_], items: NDArray[np.bool_]) -> Pairs:
        """Those of the given queries and items, numbered among these."""
        kept = queries[self.queries] & items[self.items]
        return Pairs((np.cumsum(queries) - 1)[self.queries[kept]], (np.cumsum(items) - 1)[self.items[kept]])
