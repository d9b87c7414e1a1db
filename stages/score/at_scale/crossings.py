"""Items above thresholds in a block of products, and the cells that are too close to tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.score.at_scale.tally import Tally
from stages.score.blocks import each_block
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
        for row in np.flatnonzero(counts > MANY).tolist():
            parts.append(_many(block[row], slice(int(begin[row]), int(begin[row] + counts[row])), lows, highs))
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
    possible ^= certain
    first, second = np.divmod(np.flatnonzero(possible), possible.shape[1])
    queries, items = (second, first) if by_columns else (first, second)
    return Crossings(pairs[rows], above[rows], pairs[queries], items)


def _many(products: Array, pairs: slice, lows: Array, highs: Array) -> Crossings:
    """All pairs of one query."""
    low, high = lows[pairs], highs[pairs]
    candidates = np.flatnonzero(products >= low.min())
    values = products[candidates]
    order = values.argsort()
    values = values[order]
    first, last = np.searchsorted(values, low, "left"), np.searchsorted(values, high, "right")
    counts = last - first
    numbers = np.arange(pairs.start, pairs.stop)
    places = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    return Crossings(numbers, len(values) - last, np.repeat(numbers, counts), candidates[order[places]])


def _column_counts(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many are True in each column: summed in bytes, as many rows at a time as a byte can count."""
    counts = np.zeros(flags.shape[1], np.int64)
    for start in range(0, len(flags), 255):
        counts += np.add.reduce(flags[start : start + 255].view(np.uint8), axis=0, dtype=np.uint8)
    return counts
