"""Goes through all pairs of two sides, a tile of them at a time, with the next rows being read meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.score.at_scale.sides import Measure, Precision, Prepared, Side, prepare, similarities
from stages.score.blocks import row_blocks
from stages.score.pairs import Pairs

T = TypeVar("T")


@dataclass(frozen=True)
class Steps:
    """Rows at a time.

    Attributes:
        panel: queries that are held while all items pass by.
        block: items that are read at a time.
        tile: queries of the panel that are multiplied with a block at a time.
    """

    panel: int = 1 << 15
    block: int = 1 << 14
    tile: int = 1 << 10

    @staticmethod
    def within(memory: float, dim: int) -> Steps:
        """As many rows as take up no more than about so many bytes, between a few thousand and the default."""
        rows = int(memory / (64 * dim))
        panel, block = (max(1 << 11, min(most, rows)) for most in (Steps.panel, Steps.block))
        return Steps(panel, block, min(Steps.tile, max(1 << 8, int(memory / (16 * block)))))


DEFAULT = Steps()


@dataclass(frozen=True, eq=False)
class Held:
    """Prepared rows and which of their side they are."""

    rows: slice
    prepared: Prepared


def blocks_of(side: Side, measure: Measure, weighted: bool, precision: Precision, step: int) -> Iterator[Held]:
    """All rows of a side, prepared some at a time, the next ones while these are at work."""

    def read(rows: slice) -> Held:
        return Held(rows, prepare(side.read(rows), measure, weighted, precision))

    return _ahead(read, list(row_blocks(len(side), 1, step)))


def pair_similarities(
    queries: Side, items: Side, measure: Measure, pairs: Pairs, step: int = 1 << 14
) -> NDArray[np.float32]:
    """(p,) how similar the two of each pair are, exactly as in a dense matrix.

    Args:
        queries: one side.
        items: the other.
        measure: how they are compared.
        pairs: whose.
        step: pairs at a time.
    """
    by_item = np.argsort(pairs.items, kind="stable")
    result = np.empty(len(pairs), np.float32)

    def read(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        some = by_item[rows]
        sides, places = [], []
        for side, numbers, weighted in ((queries, pairs.queries[some], True), (items, pairs.items[some], False)):
            wanted, place = np.unique(numbers, return_inverse=True)
            sides.append(prepare(side.read(wanted), measure, weighted))
            places.append(place)
        return some, similarities(measure, sides[0], sides[1], places[0], places[1])

    for some, values in _ahead(read, list(row_blocks(len(pairs), 1, step))):
        result[some] = values
    return result


def _ahead(read: Callable[[slice], T], slices: list[slice]) -> Iterator[T]:
    with ThreadPoolExecutor(1, "read-ahead") as pool:
        waiting = [pool.submit(read, one) for one in slices[:1]]
        for number in range(len(slices)):
            done = waiting.pop().result()
            waiting += [pool.submit(read, one) for one in slices[number + 1 : number + 2]]
            yield done
