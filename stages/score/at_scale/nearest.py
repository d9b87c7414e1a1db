"""The most similar items of queries, exactly, with items read a block at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.score.at_scale.bounds import is_safe, margins
from stages.score.at_scale.products import FAST, Multiplier
from stages.score.at_scale.sides import Measure, Prepared, Side, prepare, similarities, widened
from stages.score.at_scale.walk import DEFAULT, Steps, blocks_of
from stages.score.blocks import row_blocks

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


def nearest(
    queries: Side, items: Side, measure: Measure, k: int, multiplier: Multiplier = FAST, steps: Steps = DEFAULT
) -> Found:
    """The k most similar items of each query, as `ranking.order` would list them: of equals the earlier first.

    Args:
        queries: (Q, ...), all held in memory.
        items: (N, ...), read once.
        measure: how they are compared.
        k: how many; no more than there are items.
        multiplier: device and precision of the products; they change nothing of the result.
        steps: rows at a time, likewise.

    Returns:
        Similarities and numbers of the items, (Q, k) each, most similar first.
    """
    k = min(k, len(items))
    values, numbers = np.full((len(queries), k), -np.inf, np.float32), np.zeros((len(queries), k), np.int64)
    if not values.size:
        return values, numbers
    held = prepare(queries.read(slice(None)), measure, True, multiplier.precision)
    for block in blocks_of(items, measure, False, multiplier.precision, steps.block):
        for tile in row_blocks(len(held), 1, steps.tile):
            part = held.part(tile)
            query, item = _candidates(part, block.prepared, measure, values[tile], multiplier)
            found = similarities(measure, part, block.prepared, query, item)
            _merge(values[tile], numbers[tile], query, item + block.rows.start, found)
    return values, numbers


def _candidates(
    queries: Prepared, items: Prepared, measure: Measure, known: NDArray[np.float32], multiplier: Multiplier
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs that may be among the k of their query: all that come near the k-th best known, or near that of the block.

    Args:
        queries: prepared rows.
        items: prepared rows.
        measure: how they are compared.
        known: (queries, k) descending.
        multiplier: of the products.
    """
    if multiplier.precision != "fp64" and not (is_safe(queries) and is_safe(items)):
        multiplier = Multiplier(multiplier.device, "fp64")
    if multiplier.precision == "fp64":
        queries, items = widened(queries, measure, True), widened(items, measure, False)
    products = multiplier.products(multiplier.place(queries), multiplier.place(items))
    products = products if isinstance(products, np.ndarray) else products.float().cpu().numpy()
    longest = (queries.lengths * items.lengths.max(initial=0.0)).astype(np.float32)
    margin = margins(longest, queries, slice(None), items, multiplier.arithmetic)
    lowest = known[:, -1] - margin
    k = known.shape[1]
    if products.shape[1] > k:
        of_block = np.partition(products, products.shape[1] - k, axis=1)[:, products.shape[1] - k]
        lowest = np.maximum(lowest, of_block - 2 * margin)
    query, item = np.nonzero(products >= lowest[:, None])
    return query, item


def _merge(
    values: NDArray[np.float32],
    numbers: NDArray[np.int64],
    query: NDArray[np.int64],
    item: NDArray[np.int64],
    found: NDArray[np.float32],
) -> None:
    """Puts candidates, which come after all items known, to their places."""
    ends = np.searchsorted(query, np.arange(len(values) + 1))
    for row in np.flatnonzero(np.diff(ends)).tolist():
        some = slice(int(ends[row]), int(ends[row + 1]))
        all_values = np.concatenate([values[row], found[some]])
        best = np.argsort(-all_values, kind="stable")[: values.shape[1]]
        values[row] = all_values[best]
        numbers[row] = np.concatenate([numbers[row], item[some]])[best]
