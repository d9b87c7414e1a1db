"""Similarity matrices between two sets of embeddings.

Products are summed in float64 and rounded to float32 once. A float32 matrix product gives two
equal captions different last bits, depending on where in the matrix they stand and on how it is
cut into blocks: that would break exact ties at random and make numbers depend on the block size.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.score.blocks import row_blocks
from stages.score.ranking import Array

SMALLEST_NORM = 1e-8
"""Norms are clamped here as in the reference, so an all-zero embedding is similar to nothing."""


def cosine(queries: Array, items: Array) -> NDArray[np.float32]:
    """Cosine similarity of every query (Q, D) with every item (N, D), as (Q, N) float32."""
    result = np.empty((len(queries), len(items)), np.float32)
    for rows, block in cosine_blocks(queries, items):
        result[rows] = block
    return result


def cosine_blocks(
    queries: Array, items: Array, max_rows: int | None = None
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yields the rows of `cosine(queries, items)` a block at a time, for matrices beyond memory.

    Args:
        queries: (Q, D).
        items: (N, D); a float64 copy of it is held.
        max_rows: rows in a block; by default as many as keep a block in a few tens of MB.
    """
    if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1]:
        raise ValueError(
            f"embeddings do not fit together: queries are {queries.shape}, items {items.shape}; "
            "both must be (rows, dimensions) with the same number of dimensions"
        )
    columns = _unit_rows(items).T
    for rows in row_blocks(len(queries), max(columns.shape), max_rows):
        yield rows, (_unit_rows(queries[rows]) @ columns).astype(np.float32)


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


def _unit_rows(embeddings: Array) -> Array:
    wide: Array = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    wide = wide / np.maximum(norms, SMALLEST_NORM)
    return wide
