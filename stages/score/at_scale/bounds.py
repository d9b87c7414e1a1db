"""How far a similarity computed fast can be from the one a dense matrix has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.score.at_scale.sides import Prepared
from stages.score.ranking import Array
from stages.score.similarity import COSINE_STEP

FLOAT32_UNIT = 2.0**-24
SECOND_ORDER = 1.01
"""Errors of errors, for rows of up to 100,000 dimensions."""


@dataclass(frozen=True)
class Arithmetic:
    """Of one way to multiply.

    Attributes:
        sums: unit roundoff of each addition and product.
        results: of what is given back, where it is rounded once more.
    """

    sums: float
    results: float = 0.0


FLOAT32 = Arithmetic(FLOAT32_UNIT)
FLOAT64 = Arithmetic(2.0**-53)


def margins(
    thresholds: NDArray[np.float32], queries: Prepared, rows: Array | slice, items: Prepared, arithmetic: Arithmetic
) -> NDArray[np.float64]:
    """Within which a product says nothing of a similarity being above or below a threshold.

    A sum of n products x_i y_i, in whatever order, is rounded n times, each time by no more than the unit roundoff
    times a sum of some of the products; and no such sum is larger than (|x| |y| + |x.y|) / 2, for what is positive and
    what is negative among the products together is at most |x| |y| (Higham 2002, "Accuracy and Stability of Numerical
    Algorithms", chapters 3 and 4, has the general bounds). Rows that were rounded before add the lengths of what they
    lost. The bound grows slower than the similarity, so that it may be taken at the threshold.

    Args:
        thresholds: (n,) similarities.
        queries: prepared rows.
        rows: (n,) the query of each threshold, as numbers or a slice of `queries`.
        items: what the queries are compared with.
        arithmetic: of the products.

    Returns:
        (n,); 0 for queries of length 0, whose products are exact.
    """
    length, residual = queries.lengths[rows], queries.residuals[rows]
    most, most_residual = items.lengths.max(initial=0.0), items.residuals.max(initial=0.0)
    most_near = most + most_residual
    product = (length + residual) * most_near
    n_terms = queries.near.shape[1]
    sums = arithmetic.sums * (n_terms * (product + np.abs(thresholds)) / 2 + 2 * product)
    inputs = residual * most_near + length * most_residual
    results = arithmetic.results * (np.abs(thresholds) + sums + inputs)
    exact = 4 * FLOAT32_UNIT * product + COSINE_STEP + n_terms * float(np.finfo(np.float32).tiny)
    return np.where(length > 0, SECOND_ORDER * (sums + inputs + results) + exact, 0.0)


def is_safe(rows: Prepared, most: float = 2.0**50) -> bool:
    """Whether products and sums of such rows on both sides stay within what float32 and `near` can hold."""
    return bool(rows.lengths.max(initial=0.0) < most and np.isfinite(rows.residuals).all())


def outward(thresholds: NDArray[np.float32], margin: NDArray[np.float64], dtype: np.dtype) -> tuple[Array, Array]:
    """Products from the first on may be above or level, products above the second are above; in their own dtype."""
    lowest, highest = thresholds - margin, thresholds + margin
    if dtype == np.float64:
        return lowest, highest
    low, high = lowest.astype(np.float32), highest.astype(np.float32)
    low = np.where(low > lowest, np.nextafter(low, np.float32(-np.inf)), low)
    high = np.where(high < highest, np.nextafter(high, np.float32(np.inf)), high)
    return low, high
