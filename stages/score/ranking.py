"""Rankings: where items stand for each query, most similar first.

Sorting a similarity matrix is the dear part of scoring. `order` does it once; `within` filters
the result for a subset of the items, which gives the very ranking that sorting the subset would.
"""

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Ties = Literal["mean", "optimistic", "pessimistic"]

CELLS_PER_BLOCK = 2**21
"""Cells of a block: 16 MiB a float64 temporary, of which a metric holds a few."""


def row_blocks(n_rows: int, n_columns: int, max_rows: int | None = None) -> Iterator[slice]:
    """Slices that cover `n_rows` rows in order, each small enough to work on in memory."""
    step = max_rows or max(1, CELLS_PER_BLOCK // max(1, n_columns))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def ranks_of_best(sims: Array, relevant: NDArray[np.bool_], ties: Ties = "mean") -> NDArray[np.float64]:
    """1-based rank of the best relevant item of each query; nan where none is relevant.

    Items as similar as the best relevant one share a run of places in the ranking. `ties` says
    which place of the run counts: its first ("optimistic", the reference's text to video), its
    middle ("mean", may end in .5, the reference's video to text) or its last ("pessimistic").

    Args:
        sims: (Q, N) similarities.
        relevant: (Q, N), True where the item answers the query.
        ties: the rule above.
    """
    if ties not in get_args(Ties):
        raise ValueError(f"no tie rule is called {ties!r}; there are {', '.join(get_args(Ties))}")
    same_shape(sims, relevant)
    ranks = np.empty(len(sims))
    for rows in row_blocks(*sims.shape):
        block, answers = without_nan(sims[rows], rows), relevant[rows]
        best = np.where(answers, block, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        above = np.count_nonzero(block > best, axis=1)
        level = np.count_nonzero(block == best, axis=1)
        place = {"optimistic": 1.0, "mean": (level + 1) / 2, "pessimistic": level}[ties]
        ranks[rows] = np.where(answers.any(axis=1), above + place, np.nan)
    return ranks


def order(sims: Array) -> NDArray[np.int32]:
    """Item numbers of each query, most similar first; among equals the earlier item first."""
    result = np.empty(sims.shape, np.int32)
    for rows in row_blocks(*sims.shape):
        block = without_nan(sims[rows], rows)
        result[rows] = _order_by_keys(block) if block.dtype == np.float32 else np.argsort(-block, axis=1, kind="stable")
    return result


def within(ranking: NDArray[np.int32], keep: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The `order` of the items in `keep` alone, numbered as in `sims[:, keep]`.

    Args:
        ranking: (Q, N) from `order`.
        keep: (N,), True for items of the subset.
    """
    numbers = (np.cumsum(keep) - 1).astype(np.int32)
    n_kept = int(np.count_nonzero(keep))
    result = np.empty((len(ranking), n_kept), np.int32)
    for rows in row_blocks(*ranking.shape):
        block = ranking[rows]
        result[rows] = numbers[block[keep[block]]].reshape(len(block), n_kept)
    return result


def without_nan(block: Array, rows: slice) -> Array:
    """The block itself; a nan in it is an error, for it would rank first and last at once."""
    bad = np.flatnonzero(np.isnan(block).any(axis=1))
    if len(bad):
        raise ValueError(
            f"the similarities of query {rows.start + bad[0]} hold nan: an embedding is broken; "
            "look for nan in the embedding caches this experiment reads"
        )
    return block


def same_shape(sims: Array, other: Array) -> None:
    """Raises ValueError unless both matrices are (queries, items) of one shape."""
    if sims.ndim != 2 or sims.shape != other.shape:
        raise ValueError(f"similarities are {sims.shape}, what is relevant is {other.shape}")


def _order_by_keys(block: NDArray[np.float32]) -> NDArray[np.int32]:
    """Stable descending argsort, four times as fast as numpy's: sorts (bits, position) keys.

    Seen as integers, the bits of positive floats ascend with the value and those of negative
    ones descend. No two keys are equal, so any sort is stable.
    """
    bits = (np.float32(0) - block).view(np.uint32)  # 0 - x, not -x: both zeros become +0.0
    bits = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    keys = bits.astype(np.uint64) << np.uint64(32)
    keys |= np.arange(block.shape[1], dtype=np.uint64)
    keys.sort(axis=1)
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int32)
