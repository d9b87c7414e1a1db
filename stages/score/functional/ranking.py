"""Rankings: where items stand for each query, most similar first."""

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from stages.score.functional.blocks import each_block

Array: TypeAlias = NDArray[Any]
Ties = Literal["mean", "optimistic", "pessimistic"]


def ranks_of_best(sims: Array, relevant: NDArray[np.bool_], ties: Ties = "mean") -> NDArray[np.float64]:
    """1-based rank of the best relevant item of each query; nan where none is relevant.

    The best relevant item shares a run of places with others as similar that are not relevant. `ties` says
    which place of the run counts: its first ("optimistic", the reference's text to video), its
    middle ("mean", may end in .5, the reference's video to text) or its last ("pessimistic"). Other
    relevant items do not count: whichever of them comes first, a right answer does.

    Args:
        sims: (Q, N) similarities.
        relevant: (Q, N), True where the item answers the query.
        ties: the rule above.
    """
    if ties not in get_args(Ties):
        raise ValueError(f"no tie rule is called {ties!r}; there are {', '.join(get_args(Ties))}")
    above, level = best_places(sims, relevant)
    return np.where(level > 0, above + place_among_equals(level, ties), np.nan)


def best_places(sims: Array, relevant: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many items of each query are more similar than its best relevant one, and how many exactly as similar.

    The latter are that one and those that are not relevant: whichever of two equal answers comes first, one does.

    Args:
        sims: (Q, N) similarities.
        relevant: (Q, N), True where the item answers the query; a query without an answer has 0 as similar.
    """
    same_shape(sims, relevant)
    above, level = np.zeros(len(sims), np.int64), np.zeros(len(sims), np.int64)

    def work(rows: slice) -> None:
        block, answers = without_nan(sims[rows], rows), relevant[rows]
        best = np.where(answers, block, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        answered = answers.any(axis=1)
        above[rows] = np.where(answered, np.count_nonzero(block > best, axis=1), 0)
        level[rows] = np.where(answered, np.count_nonzero((block == best) & ~answers, axis=1) + 1, 0)

    each_block(work, *sims.shape)
    return above, level


def place_among_equals(level: Array, ties: Ties) -> Array:
    """Which of the places 1..level that equal items share counts as the rank."""
    places = {"optimistic": np.ones(len(level)), "mean": (level + 1) / 2, "pessimistic": level}
    return places[ties]


def order(sims: Array) -> NDArray[np.int32]:
    """Item numbers of each query, most similar first; among equals the earlier item first."""
    result = np.empty(sims.shape, np.int32)

    def work(rows: slice) -> None:
        result[rows] = order_block(without_nan(sims[rows], rows))

    each_block(work, *sims.shape)
    return result


def order_block(block: Array) -> NDArray[np.int64]:
    """`order` of a few rows at once."""
    keys, low = sorted_keys(block)
    keys &= low
    return keys


def sorted_keys(block: Array, marked: NDArray[np.bool_] | None = None) -> tuple[NDArray[np.int64], int]:
    """Sorts integer keys of similarity and item, which numpy does fastest.

    Seen as integers, the bits of positive floats ascend with the value and those of negative ones
    descend. No two keys of a row are equal, so any sort is stable.

    Args:
        block: (B, N) similarities.
        marked: (B, N) flags that travel with the items.

    Returns:
        (B, N) keys, most similar first, and the mask of their bits that hold the item number or,
        with `marked`, 2 x item + flag.
    """
    n_flags = 0 if marked is None else 1
    items = np.arange(block.shape[1]) << n_flags
    if block.dtype == np.float64:
        low = (1 << int(items.max(initial=0) + n_flags).bit_length()) - 1
        keys = _ascending_bits(block, np.dtype(np.int64))
        keys &= ~low
    else:
        low = (1 << 32) - 1
        keys = _ascending_bits(np.asarray(block, np.float32), np.dtype(np.int32)).astype(np.int64)
        keys <<= 32
    keys |= items
    if marked is not None:
        keys |= marked
    keys.sort(axis=1)
    if block.dtype == np.float64:
        _sort_on(keys, block, low, n_flags)
    return keys, low


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


def _sort_on(keys: NDArray[np.int64], block: NDArray[np.float64], low: int, n_flags: int) -> None:
    """Orders by the lowest bits of float64 values, too, whose place in the keys the items took."""
    ranked = np.take_along_axis(block, (keys & low) >> n_flags, axis=1)
    wrong = np.flatnonzero((ranked[:, 1:] > ranked[:, :-1]).any(axis=1))
    if len(wrong):
        again = np.argsort(-ranked[wrong], axis=1, kind="stable")
        keys[wrong] = np.take_along_axis(keys[wrong], again, axis=1)


def _ascending_bits(block: Array, integer: np.dtype[Any]) -> NDArray[Any]:
    """Integers that ascend as the values of the block descend."""
    bits: NDArray[Any] = (block.dtype.type(0) - block).view(integer)  # 0 - x, not -x: both zeros become +0.0
    bits ^= (bits >> (8 * integer.itemsize - 1)) & np.iinfo(integer).max
    return bits
