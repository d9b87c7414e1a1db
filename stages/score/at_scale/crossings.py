"""Items above thresholds in a block of products, and the cells that are too close to tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.score.at_scale.tally import Tally
from stages.score.blocks import contiguous, each_block
from stages.score.ranking import Array

MANY = 6
"""Answers of a query from which on its products are sorted instead of compared with one after another."""


@dataclass(frozen=True, eq=False)
class Crossings:
    """What a block of products says of pairs.

    Attributes:
        pairs: (n,) numbers of pairs.
        above: (n,) items of the block that are certainly more similar than these answers.
        near_pairs: (m,) pairs and
        near_items: (m,) items of the block, about which the products say nothing.
    """

    pairs: NDArray[np.int64]
    above: NDArray[np.int64]
    near_pairs: NDArray[np.int64]
    near_items: NDArray[np.int64]

    @staticmethod
    def joined(parts: list[Crossings]) -> Crossings:
        """All of them, end to end."""
        empty = [np.zeros(0, np.int64)]
        return Crossings(
            *(
                np.concatenate([getattr(one, name) for one in parts] or empty)
                for name in ("pairs", "above", "near_pairs", "near_items")
            )
        )


def crossings(products: Array, tally: Tally, first_query: int, lows: Array, highs: Array) -> Crossings:
    """Compares a block of products with the thresholds of its queries.

    Args:
        products: (queries of the block, items of the block); may be a transposed view.
        tally: of the direction.
        first_query: number of the block's first query.
        lows: from which on a product may be above or level, of the pairs of the block's queries.
        highs: over which it is above.
    """
    first_pair = int(tally.starts[first_query])
    starts = tally.starts[first_query : first_query + len(products) + 1] - first_pair
    found: list[list[Crossings]] = []

    def work(rows: slice) -> None:
        block, begin, counts = products[rows], starts[rows], np.diff(starts[rows.start : rows.stop + 1])
        parts = []
        for turn in range(min(MANY, int(counts.max(initial=0)))):
            parts.append(_one_each(block, np.where((counts > turn) & (counts <= MANY), begin + turn, -1), lows, highs))
        many = np.flatnonzero(counts > MANY)
        if len(many) and block.dtype == np.float32:
            parts.append(_many_each(block, many, begin[many], counts[many], lows, highs))
        else:
            parts += [_many(block[row], begin[row] + np.arange(counts[row]), lows, highs) for row in many.tolist()]
        found.append(parts)

    if starts[-1] > 0:
        each_block(work, *products.shape)
    all_of = Crossings.joined([one for parts in found for one in parts])
    return Crossings(all_of.pairs + first_pair, all_of.above, all_of.near_pairs + first_pair, all_of.near_items)


def _one_each(block: Array, pairs: NDArray[np.int64], lows: Array, highs: Array) -> Crossings:
    """One pair per query, or -1."""
    rows = np.flatnonzero(pairs >= 0)
    by_columns = block.strides[0] < block.strides[1]
    along = block.T if by_columns else block
    if 2 * len(rows) < len(pairs):  # else comparing too many is faster than copying
        along = along.take(rows, axis=1 if by_columns else 0)
        pairs, rows = pairs[rows], np.arange(len(rows))
    low, high = (np.where(pairs >= 0, limits[pairs], np.inf).astype(limits.dtype) for limits in (lows, highs))
    if not by_columns:
        low, high = low[:, None], high[:, None]
    possible, certain = np.empty((2, *along.shape), bool)
    np.greater_equal(along, low, out=possible)
    np.greater(along, high, out=certain)
    above = _column_counts(certain) if by_columns else np.array([np.count_nonzero(row) for row in certain], np.int64)
    undecided = possible.view(np.uint8)  # as bytes ten times as fast as bool
    undecided ^= certain.view(np.uint8)
    first, second = np.divmod(np.flatnonzero(possible), possible.shape[1])
    queries, items = (second, first) if by_columns else (first, second)
    return Crossings(pairs[rows], above[rows], pairs[queries], items)


def _many_each(
    block: Array, rows: NDArray[np.int64], begin: Array, counts: Array, lows: Array, highs: Array
) -> Crossings:
    """All pairs of some queries.

    One sort, on integers made of query, product and item, serves them all.

    Args:
        block: float32 (queries, items).
        rows: (q,) the queries.
        begin: (q,) the first pair of each.
        counts: (q,) how many it has.
        lows: as of `crossings`.
        highs: likewise.
    """
    block = contiguous(block) if len(rows) == len(block) else np.ascontiguousarray(block[rows])
    row = np.repeat(np.arange(len(rows)), counts)
    pairs = np.arange(len(row)) + np.repeat(begin - (np.cumsum(counts) - counts), counts)
    low, high = lows[pairs], highs[pairs]
    lowest = np.minimum.reduceat(low, np.cumsum(counts) - counts)
    cells = np.flatnonzero(block >= lowest[:, None])
    shift = int(block.shape[1]).bit_length()
    cell_row, item = np.divmod(cells, block.shape[1])
    keys = (((cell_row << 32) + _ascending(block.take(cells))) << shift) + item
    keys.sort()
    ends = np.searchsorted(keys, np.arange(1, len(rows) + 1) << (32 + shift))
    first = np.searchsorted(keys, ((row << 32) + _ascending(low)) << shift)
    last = np.searchsorted(keys, ((row << 32) + _ascending(high) + 1) << shift)
    near = last - first
    places = np.arange(near.sum()) + np.repeat(first - (np.cumsum(near) - near), near)
    return Crossings(pairs, ends[row] - last, np.repeat(pairs, near), keys[places] & ((1 << shift) - 1))


def _ascending(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers of 32 bits in the order of the values."""
    bits = (values + np.float32(0)).view(np.int32)  # + 0: both zeros become +0.0
    bits ^= (bits >> 31) & 0x7FFFFFFF
    return bits.astype(np.int64) + (1 << 31)


def _many(products: Array, pairs: NDArray[np.int64], lows: Array, highs: Array) -> Crossings:
    """All pairs of one query, in any precision."""
    low, high = lows[pairs], highs[pairs]
    candidates = np.flatnonzero(products >= low.min())
    values = products[candidates]
    order = values.argsort()
    values = values[order]
    first, last = np.searchsorted(values, low, "left"), np.searchsorted(values, high, "right")
    counts = last - first
    places = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    return Crossings(pairs, len(values) - last, np.repeat(pairs, counts), candidates[order[places]])


def _column_counts(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many are True in each column: summed in bytes, as many rows at a time as a byte can count."""
    counts = np.zeros(flags.shape[1], np.int64)
    for start in range(0, len(flags), 255):
        counts += np.add.reduce(flags[start : start + 255].view(np.uint8), axis=0, dtype=np.uint8)
    return counts
