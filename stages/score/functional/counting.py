"""Cells of a block of similarities counted between the thresholds of queries, by loops that numba compiles.

Cells between two right ones are gone through without a branch, which become vector instructions. For a query of
several answers the cells above its lowest threshold are picked first, then each takes a search.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from cache.compiled import compiled

TILE = 2048
"""Columns whose counters are kept in the nearest cache."""


@compiled
def _count(
    cells: Any, found: Any, columns: bool, line: Any, left: Any, starts: Any, thresholds: Any, items: Any,
    below: Any, level: Any, earlier: Any,
) -> None:  # fmt: skip
    for column in found:
        value = cells[column]
        query, item = (left + column, line) if columns else (line, column)
        start, stop = starts[query], starts[query + 1]
        low, step = start, 1  # most cells that are above any threshold lie just above the lowest
        while low + step < stop and thresholds[low + step] < value:
            low, step = low + step, 2 * step
        high = min(low + step, stop)
        while low < high:
            middle = (low + high) // 2
            if thresholds[middle] < value:
                low = middle + 1
            else:
                high = middle
        if low > start:
            below[low - 1] += 1
        while low < stop and thresholds[low] == value:
            level[low] += 1
            if item < items[low]:
                earlier[low] += 1
            low += 1


@partial(compiled, fastmath={"nnan", "nsz"})
def _largest(cells: Any, least: Any) -> Any:
    for value in cells:
        least = max(least, value)
    return least


@compiled
def rows(
    sims: Any, right_starts: Any, right: Any, first: Any, row0: Any, row1: Any, starts: Any, thresholds: Any,
    items: Any, below: Any, level: Any, earlier: Any, wrong: Any, margins: bool,
) -> None:  # fmt: skip
    """Queries are rows `row0` to `row1` of the block; arrays are those of `Counts`, which are added to."""
    n = sims.shape[1]
    found = np.empty(n + 1, np.int32)
    for row in range(row0, row1):
        query = first + row
        start, stop = starts[query], starts[query + 1]
        cells = sims[row]
        if margins:
            column = 0
            for known in range(right_starts[row], right_starts[row + 1]):
                wrong[query] = _largest(cells[column : right[known]], wrong[query])
                column = right[known] + 1
            wrong[query] = _largest(cells[column:], wrong[query])
        if stop - start == 1:
            threshold, above, equal = thresholds[start], np.int32(0), np.int32(0)
            for column in range(n):
                above += np.int32(cells[column] > threshold)
                equal += np.int32(cells[column] == threshold)
            below[start] += above
            level[start] += equal
            if equal > 1:
                for column in range(items[start]):
                    earlier[start] += cells[column] == threshold
        elif stop > start:
            n_found = 0
            for column in range(n):
                found[n_found] = column
                n_found += cells[column] >= thresholds[start]
            _count(cells, found[:n_found], False, query, 0, starts, thresholds, items, below, level, earlier)


@compiled
def _above_and_level(cells: Any, threshold: Any, above: Any, equal: Any) -> None:
    for column in range(len(cells)):
        above[column] += np.int32(cells[column] > threshold[column])
        equal[column] += np.int32(cells[column] == threshold[column])


@partial(compiled, fastmath={"nnan", "nsz"})
def _raise_to(cells: Any, most: Any) -> None:
    for column in range(len(cells)):
        most[column] = max(most[column], cells[column])


@compiled
def columns(
    sims: Any, right_starts: Any, right: Any, first: Any, column0: Any, column1: Any, starts: Any, thresholds: Any,
    items: Any, below: Any, level: Any, earlier: Any, wrong: Any, margins: bool,
) -> None:  # fmt: skip
    """Queries are columns `column0` to `column1` of the block, whose rows are items from number `first` on."""
    for left in range(column0, column1, TILE):
        end = min(left + TILE, column1)
        threshold, lowest = np.full((2, end - left), np.float32(np.inf))
        found = np.empty(end - left + 1, np.int32)
        n_single, n_several = 0, 0
        for query in range(left, end):
            if starts[query + 1] - starts[query] == 1:
                threshold[query - left] = thresholds[starts[query]]
                n_single += 1
            elif starts[query + 1] > starts[query]:
                lowest[query - left] = thresholds[starts[query]]
                n_several += 1
        above, equal = np.zeros(end - left, np.int32), np.zeros(end - left, np.int32)
        for row in range(len(sims)):
            cells = sims[row]
            if margins:
                column = left
                for known in range(right_starts[row], right_starts[row + 1]):
                    if left <= right[known] < end:
                        _raise_to(cells[column : right[known]], wrong[column : right[known]])
                        column = right[known] + 1
                _raise_to(cells[column:end], wrong[column:end])
            if n_single:
                _above_and_level(cells[left:end], threshold, above, equal)
            if n_several:
                n_found = 0
                for column in range(end - left):
                    found[n_found] = column
                    n_found += cells[left + column] >= lowest[column]
                _count(
                    cells[left:end], found[:n_found], True, first + row, left, starts, thresholds, items, below,
                    level, earlier,
                )  # fmt: skip
        for query in range(left, end):
            start = starts[query]
            if starts[query + 1] - start != 1:
                continue
            below[start] += above[query - left]
            level[start] += equal[query - left]
            if equal[query - left]:
                for row in range(max(0, min(len(sims), items[start] - first))):
                    earlier[start] += sims[row, query] == thresholds[start]
