"""The two sides of a comparison, and their rows as they are multiplied: nearly, and exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.score.blocks import CELLS_PER_BLOCK, each_block, row_blocks
from stages.score.ranking import Array
from stages.score.similarity import rounded_cosines, rounded_products, unit_rows, wide_rows
from stages.score.stored_rows import StoredRows

Precision = Literal["fp64", "fp32", "bf16", "fp16"]

PAIRS_AT_A_TIME = 256
"""Whose float64 rows fit into a processor's second cache."""


@dataclass(frozen=True)
class Measure:
    """How similar a query and an item are.

    Attributes:
        cosine: rows are divided by their lengths; otherwise their lengths count.
        weights: one per part; similarities of the parts are mixed as in `similarity.fuse`.
    """

    cosine: bool = True
    weights: tuple[float, ...] = (1.0,)

    def shares(self) -> list[float]:
        """The weights over their sum."""
        total = sum(float(weight) for weight in self.weights)
        return [float(weight) / total for weight in self.weights]


@dataclass(frozen=True, eq=False)
class Side:
    """Queries or items.

    Attributes:
        parts: one per encoder whose similarities are mixed; of each, one or more caches whose rows are added up.
    """

    parts: Sequence[Sequence[StoredRows]]

    def __len__(self) -> int:
        return len(self.parts[0][0])

    @property
    def dim(self) -> int:
        """Dimensions of all parts together."""
        return sum(part[0].shape[1] for part in self.parts)

    def only(self, chosen: Array) -> Side:
        """Some of the rows, by number or mask."""
        return Side([[rows.only(chosen) for rows in part] for part in self.parts])

    def read(self, chosen: Array | slice) -> list[NDArray[np.float64]]:
        """Rows of each part, (chosen, dim of the part)."""
        wide = [[wide_rows(rows.numpy(chosen)) for rows in part] for part in self.parts]
        return [part[0] if len(part) == 1 else np.sum(part, axis=0) for part in wide]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows of one side.

    Attributes:
        exact: of each part, float64 (n, dim): of unit length where cosines are taken.
        near: (n, dim of all parts), end to end and times the shares of the mixture, rounded to what is multiplied;
            float32, or float64 of that precision.
        lengths: (n,) of the rows of `near` before rounding.
        residuals: (n,) lengths of what rounding took away.
    """

    exact: list[NDArray[np.float64]]
    near: Array
    lengths: NDArray[np.float64]
    residuals: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.near)

    def part(self, rows: slice) -> Prepared:
        """Some of the rows."""
        exact = [part[rows] for part in self.exact]
        return Prepared(exact, self.near[rows], self.lengths[rows], self.residuals[rows])


def prepare(
    rows: Sequence[NDArray[np.float64]], measure: Measure, weighted: bool, precision: Precision = "fp32"
) -> Prepared:
    """Makes rows ready to be multiplied.

    Args:
        rows: of each part, as read.
        measure: how they will be compared.
        weighted: whether this side takes on the weights of the parts; the other one then does not.
        precision: of `near`.
    """
    exact = [unit_rows(part) if measure.cosine else wide_rows(part) for part in rows]
    joined = _joined(exact, measure, weighted)
    near = joined if precision == "fp64" else _rounded_rows(joined, precision)
    return Prepared(exact, near, _lengths(joined), _lengths(joined, near))


def widened(rows: Prepared, measure: Measure, weighted: bool) -> Prepared:
    """The same rows with `near` in float64."""
    return Prepared(rows.exact, _joined(rows.exact, measure, weighted), rows.lengths, np.zeros(len(rows)))


def _joined(exact: list[NDArray[np.float64]], measure: Measure, weighted: bool) -> NDArray[np.float64]:
    if len(exact) == 1:
        return exact[0]
    shares = measure.shares() if weighted else [1.0] * len(exact)
    return np.concatenate([part * share for part, share in zip(exact, shares, strict=True)], axis=1)


def _rounded_rows(rows: NDArray[np.float64], precision: Precision) -> NDArray[np.float32]:
    """float32 that hold no more digits than the precision has."""
    with np.errstate(over="ignore", under="ignore"):
        if precision == "fp16":
            return rows.astype(np.float16).astype(np.float32)
        near = rows.astype(np.float32)
    if precision == "bf16":  # the upper half of a float32, to nearest
        bits = near.view(np.uint32)
        bits += ((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF)
        bits &= np.uint32(0xFFFF0000)
    return near


def _lengths(rows: NDArray[np.float64], less: Array | None = None) -> NDArray[np.float64]:
    result = np.empty(len(rows))
    for some in row_blocks(*rows.shape):
        block = rows[some] if less is None else rows[some] - less[some]
        result[some] = np.sqrt(np.einsum("nd,nd->n", block, block))
    return result


def similarities(
    measure: Measure, queries: Prepared, items: Prepared, query: NDArray[np.int64], item: NDArray[np.int64]
) -> NDArray[np.float32]:
    """What a dense matrix of similarities has in single cells; the same however many are asked for.

    Args:
        measure: how rows are compared.
        queries: prepared rows.
        items: prepared rows.
        query: (n,) numbers of rows of `queries`.
        item: (n,) of `items`.
    """
    result = np.empty(len(query), np.float32)

    def work(some: slice) -> None:
        values = [
            _rounded(measure, _row_products(left[query[some]], right[item[some]]))
            for left, right in zip(queries.exact, items.exact, strict=True)
        ]
        if len(values) == 1:
            result[some] = values[0]
        else:
            mixed = np.zeros(len(values[0]))
            for value, share in zip(values, measure.shares(), strict=True):
                mixed += share * value
            result[some] = mixed

    each_block(work, len(query), CELLS_PER_BLOCK // PAIRS_AT_A_TIME)
    return result


def _row_products(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(left) == 1:  # numpy sums a single long row in another order
        left, right = np.repeat(left, 2, axis=0), np.repeat(right, 2, axis=0)
        return _row_products(left, right)[:1]
    products: NDArray[np.float64] = np.einsum("nd,nd->n", left, right)
    return products


def _rounded(measure: Measure, sums: NDArray[np.float64]) -> NDArray[np.float32]:
    return rounded_cosines(sums) if measure.cosine else rounded_products(sums)
