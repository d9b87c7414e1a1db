"""Similarity matrices between two sets of embeddings.

Products are summed in float64 and rounded to float32 once. A float32 matrix product gives two
equal captions different last bits, depending on where in the matrix they stand and on how it is
cut into blocks: that would break exact ties at random and make numbers depend on the block size.
Cosines are brought to steps of 2**-40 on the way, or those that cancel to 0 would differ by what
the order of their sums leaves, which float32 near 0 is fine enough to show.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from stages.score.functional.blocks import row_blocks
from stages.score.functional.ranking import Array

SMALLEST_NORM = 1e-8
"""Norms are clamped here as in the reference, so an all-zero embedding is similar to nothing."""

COSINE_STEP = 2.0**-40
"""What the order of the sum can change in a cosine of 4,096 dimensions in float64, at the most."""

PRODUCT_ROWS = 256
"""Rows of a matrix product at a time: enough for it to run at full speed."""


def cosine(queries: Array, items: Array) -> NDArray[np.float32]:
    """Cosine similarity of every query (Q, D) with every item (N, D), as (Q, N) float32."""
    return _whole(cosine_blocks(queries, items), queries, items)


def cosine_blocks(
    queries: Array, items: Array, max_rows: int | None = None
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yields the rows of `cosine(queries, items)` a block at a time, for matrices beyond memory.

    Args:
        queries: (Q, D).
        items: (N, D); a float64 copy of it is held.
        max_rows: rows in a block; by default as many as keep a block in a few tens of MB.
    """
    return _product_blocks(unit_rows, rounded_cosines, queries, items, max_rows)


def dot_product(queries: Array, items: Array) -> NDArray[np.float32]:
    """Dot product of every query (Q, D) with every item (N, D), as (Q, N) float32; lengths count."""
    return _whole(_product_blocks(wide_rows, rounded_products, queries, items), queries, items)


def _product_blocks(
    prepare: Callable[[Array], NDArray[np.float64]],
    rounded: Callable[[NDArray[np.float64]], NDArray[np.float32]],
    queries: Array,
    items: Array,
    max_rows: int | None = None,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1]:
        raise ValueError(
            f"embeddings do not fit together: queries are {queries.shape}, items {items.shape}; "
            "both must be (rows, dimensions) with the same number of dimensions"
        )
    columns = prepare(items).T
    for rows in row_blocks(len(queries), max(columns.shape), max_rows or PRODUCT_ROWS):
        yield rows, rounded(prepare(queries[rows]) @ columns)


def _whole(blocks: Iterator[tuple[slice, NDArray[np.float32]]], queries: Array, items: Array) -> NDArray[np.float32]:
    result = np.empty((len(queries), len(items)), np.float32)
    for rows, block in blocks:
        result[rows] = block
    return result


def fuse(sims: Sequence[NDArray[np.float32]], weights: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Weighted mean of similarity matrices of one shape; equal weights by default.

    With cosine matrices of vision and sound and weights (1, ratio) this is the reference's
    (cos_vid + ratio * cos_aud) / (1 + ratio).
    """
    weights = [1.0] * len(sims) if weights is None else [float(weight) for weight in weights]
    shapes = {sim.shape for sim in sims}
    if len(shapes) != 1:
        raise ValueError(f"fuse needs similarity matrices of one shape, got {sorted(shapes)}")
    if len(weights) != len(sims):
        raise ValueError(f"fuse got {len(sims)} similarity matrices and {len(weights)} weights")
    total = sum(weights)
    if not (np.isfinite(total) and total > 0):
        raise ValueError(f"the weights to fuse with must sum to more than 0, got {weights}")
    result = np.empty(sims[0].shape, np.float32)
    for rows in row_blocks(*sims[0].shape):
        mixed = np.zeros(result[rows].shape)
        for sim, weight in zip(sims, weights, strict=True):
            mixed += (weight / total) * sim[rows]
        result[rows] = mixed
    return result


def unit_rows(embeddings: Array) -> NDArray[np.float64]:
    """The rows divided by their lengths."""
    wide = wide_rows(embeddings)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float64] = wide / np.maximum(norms, SMALLEST_NORM)
    return unit


def wide_rows(embeddings: Array) -> NDArray[np.float64]:
    """The rows as they are, in float64."""
    return np.asarray(embeddings, np.float64)


def rounded_cosines(sums: NDArray[np.float64]) -> NDArray[np.float32]:
    """Cosines as they are ranked; `sums` is written over."""
    sums *= 1 / COSINE_STEP
    np.rint(sums, out=sums)
    sums *= COSINE_STEP
    return sums.astype(np.float32)


def rounded_products(sums: NDArray[np.float64]) -> NDArray[np.float32]:
    """Dot products as they are ranked; inf where they are too large, see `finite`."""
    with np.errstate(over="ignore"):
        return sums.astype(np.float32)


def finite(sims: NDArray[np.float32]) -> NDArray[np.float32]:
    """The similarities themselves.

    Raises:
        UserError: one is too large for float32, which dot products of broken embeddings are.
    """
    if not np.isfinite(sims).all():
        raise UserError("Similarities of this experiment are too large for float32: its embeddings are broken.")
    return sims
