"""What is compared: rows of embedding caches as queries and gallery, by which measure, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.score.functional.blocks import each_block
from stages.score.functional.ranking import Array
from stages.score.functional.similarity import (
    cosine,
    dot_product,
    fuse,
    rounded_cosines,
    rounded_products,
    unit_rows,
    wide_rows,
)

PAIRS_AT_A_TIME = 1 << 14


class RowSource(Protocol):
    """An artifact, or an array in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, dim)."""

    def __getitem__(self, numbers: Any) -> Any:
        """Rows by number, (selected, dim)."""


class StoredRows:
    """Chosen rows of an embedding cache, in an order of one's own, read when they are asked for.

    Args:
        source: where they lie.
        numbers: (n,) which of its rows; all of them by default.
    """

    def __init__(self, source: RowSource, numbers: NDArray[np.int64] | None = None) -> None:
        self._source = source
        self._numbers = np.arange(source.shape[0]) if numbers is None else numbers
        self.shape = len(self._numbers), source.shape[1]

    def __len__(self) -> int:
        return len(self._numbers)

    def only(self, chosen: Array) -> StoredRows:
        """Some of these rows, by number or mask."""
        return StoredRows(self._source, self._numbers[chosen])

    def numpy(self, chosen: Array | slice = slice(None)) -> Array:
        """(chosen, dim), all rows by default.

        Raises:
            UserError: the cache is damaged.
        """
        rows: Array = self._source[self._numbers[chosen]]
        return rows


@dataclass(frozen=True, eq=False)
class Items:
    """Queries, or the gallery that they search.

    Attributes:
        parts: one per encoder whose similarities are fused; of each, one or more caches whose rows are added up.
    """

    parts: Sequence[Sequence[StoredRows]]

    def __len__(self) -> int:
        return len(self.parts[0][0])

    @property
    def dim(self) -> int:
        """Dimensions of all parts together."""
        return sum(part[0].shape[1] for part in self.parts)

    def only(self, chosen: Array) -> Items:
        """Some of the rows, by number or mask."""
        return Items([[rows.only(chosen) for rows in part] for part in self.parts])

    def read(self, chosen: Array | slice = slice(None)) -> list[NDArray[np.float64]]:
        """Rows of each part, float64 (chosen, dim of the part)."""
        wide = [[wide_rows(rows.numpy(chosen)) for rows in part] for part in self.parts]
        return [part[0] if len(part) == 1 else np.sum(part, axis=0) for part in wide]


@dataclass(frozen=True)
class Measure:
    """How similar a query and an item of the gallery are.

    Attributes:
        cosine: rows are divided by their lengths; otherwise their lengths count.
        weights: one per part; similarities of the parts are fused as in `similarity.fuse`.
    """

    cosine: bool = True
    weights: tuple[float, ...] = (1.0,)

    def matrix(self, queries: Sequence[Array], gallery: Sequence[Array]) -> NDArray[np.float32]:
        """Similarities float32 (queries, gallery) of rows of each part."""
        product = cosine if self.cosine else dot_product
        sims = [product(left, right) for left, right in zip(queries, gallery, strict=True)]
        return sims[0] if len(sims) == 1 else fuse(sims, self.weights)

    def prepared(self, rows: Sequence[Array]) -> list[NDArray[np.float64]]:
        """Rows of each part as they are multiplied: for cosines of unit length."""
        return [unit_rows(part) if self.cosine else wide_rows(part) for part in rows]

    def products(self, rows: Sequence[Array], columns: Sequence[Array]) -> NDArray[np.float32]:
        """The matrix of rows and columns that are prepared, rounded in all threads."""
        rounded = rounded_cosines if self.cosine else rounded_products
        sims = []
        for left, right in zip(rows, columns, strict=True):
            sums, result = left @ right.T, np.empty((len(left), len(right)), np.float32)

            def work(some: slice, sums: Array = sums, result: Array = result) -> None:
                result[some] = rounded(sums[some])

            each_block(work, *sums.shape)
            sims.append(result)
        return sims[0] if len(sims) == 1 else fuse(sims, self.weights)

    def of_pairs(self, queries: Items, gallery: Items, pairs: Pairs) -> NDArray[np.float32]:
        """What the matrix holds for each pair, (p,), without the matrix."""
        by_item = np.argsort(pairs.items, kind="stable")
        result = np.empty(len(pairs), np.float32)
        for start in range(0, len(pairs), PAIRS_AT_A_TIME):
            some = by_item[start : start + PAIRS_AT_A_TIME]
            both = []
            for items, numbers in ((queries, pairs.queries[some]), (gallery, pairs.items[some])):
                wanted, place = np.unique(numbers, return_inverse=True)
                rows = items.read(wanted)
                both.append([(unit_rows(part) if self.cosine else part)[place] for part in rows])
            sums = [_row_products(left, right) for left, right in zip(*both, strict=True)]
            sims = [rounded_cosines(one) if self.cosine else rounded_products(one) for one in sums]
            result[some] = sims[0] if len(sims) == 1 else fuse([one[None] for one in sims], self.weights)[0]
        return result


def _row_products(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(left) == 1:  # numpy sums a single long row in another order
        return _row_products(np.repeat(left, 2, axis=0), np.repeat(right, 2, axis=0))[:1]
    products: NDArray[np.float64] = np.einsum("nd,nd->n", left, right)
    return products


@dataclass(frozen=True, eq=False)
class Pairs:
    """Which items of the gallery answer which queries.

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

    def turned(self) -> Pairs:
        """The other direction: what searched is searched."""
        return Pairs.of(self.items, self.queries)

    def turned_with(self, values: Array) -> tuple[Pairs, Array]:
        """The same with a value of each pair."""
        return self.turned(), values[np.lexsort((self.queries, self.items))]

    def only(self, queries: NDArray[np.bool_], items: NDArray[np.bool_]) -> Pairs:
        """Those of the given queries and items, numbered among these."""
        kept = queries[self.queries] & items[self.items]
        return Pairs((np.cumsum(queries) - 1)[self.queries[kept]], (np.cumsum(items) - 1)[self.items[kept]])

    def mask(self, n_queries: int, n_items: int, first: int = 0) -> NDArray[np.bool_]:
        """True where they belong together, (n_queries, n_items), of the queries from number `first` on."""
        mask = np.zeros((n_queries, n_items), bool)
        start, stop = np.searchsorted(self.queries, [first, first + n_queries])
        mask[self.queries[start:stop] - first, self.items[start:stop]] = True
        return mask
