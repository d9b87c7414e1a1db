"""Counts, for right answers of both directions, the items above and level, as a dense matrix would show them.

Products in single precision say of nearly all items on which side of an answer they stand. The few within the bound of
their error (`bounds`) are computed once more as the dense way does it, so the counts are those of the dense way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.score.at_scale.bounds import is_safe, margins
from stages.score.at_scale.crossings import Crossings
from stages.score.at_scale.products import FAST, Multiplier, row_maxima
from stages.score.at_scale.sides import Measure, Prepared, Side, similarities, widened
from stages.score.at_scale.tally import Tally
from stages.score.at_scale.walk import DEFAULT, Held, Steps, blocks_of
from stages.score.blocks import row_blocks
from stages.score.pairs import Pairs
from stages.score.ranking import Array

UNDECIDED = 0.04
"""Share of a tile's cells from which on a product in float64 is faster than computing them one by one."""

PATIENCE = 16
"""Tiles that are multiplied in float64 after one that had to be, before single precision is tried again."""


@dataclass(frozen=True, eq=False)
class Others:
    """Of each query the best item that is no answer, nearly.

    Attributes:
        similarities: (Q,); -inf where there is none.
        slack: (Q,) how far they may be from the truth.
    """

    similarities: NDArray[np.float32]
    slack: NDArray[np.float64]


def count(
    queries: Side,
    items: Side,
    measure: Measure,
    forward: Tally,
    backward: Tally,
    answers: Pairs | None = None,
    multiplier: Multiplier = FAST,
    steps: Steps = DEFAULT,
) -> Others:
    """Fills both tallies.

    Args:
        queries: (Q, ...), of which a panel is held in memory.
        items: (N, ...), read a block at a time, once per panel.
        measure: how they are compared.
        forward: of queries that search items, thresholds set and counts 0.
        backward: of items that search queries.
        answers: of queries, where the best of the other items is asked for.
        multiplier: device and precision of the products; they change no count.
        steps: rows at a time; they change no count.
    """
    others = Others(np.full(len(queries), -np.inf, np.float32), np.zeros(len(queries)))
    for panel in blocks_of(queries, measure, True, multiplier.precision, steps.panel):
        counter = _Counter(panel, measure, forward, backward, answers, multiplier, others)
        for block in blocks_of(items, measure, False, multiplier.precision, steps.block):
            counter.count(block, steps.tile)
    return others


class _Counter:
    def __init__(
        self,
        panel: Held,
        measure: Measure,
        forward: Tally,
        backward: Tally,
        answers: Pairs | None,
        multiplier: Multiplier,
        others: Others,
    ) -> None:
        self._panel, self._measure, self._answers, self._others = panel, measure, answers, others
        self._forward, self._backward = forward, backward
        self._multiplier, self._wide = multiplier, replace(multiplier, precision="fp64")
        self._placed = multiplier.place(panel.prepared)
        self._alike = _alike(panel.prepared)
        self._space: Array | None = None
        self._patience = 0

    def count(self, block: Held, step: int) -> None:
        placed = self._multiplier.place(block.prepared)
        for tile in row_blocks(len(self._panel.prepared), 1, step):
            part = self._panel.prepared.part(tile)
            safe = self._multiplier.precision == "fp64" or (is_safe(part) and is_safe(block.prepared))
            if safe and not self._patience:
                products = self._multiplier.products(self._placed[tile], placed, self._space)
                self._keep(products)
                if self._take(products, tile, part, block, self._multiplier):
                    continue
                self._patience = PATIENCE
            self._patience = max(0, self._patience - 1)
            part, items = widened(part, self._measure, True), widened(block.prepared, self._measure, False)
            products = self._wide.products(self._wide.place(part), self._wide.place(items))
            self._take(products, tile, part, Held(block.rows, items), self._wide)

    def _keep(self, products: Any) -> None:
        if isinstance(products, np.ndarray) and products.base is None:
            self._space = products.reshape(-1)

    def _take(self, products: Any, tile: slice, part: Prepared, block: Held, multiplier: Multiplier) -> bool:
        """Counts a tile, unless its products leave too much undecided."""
        first, items = self._panel.rows.start + tile.start, block.prepared
        there = self._crossings(products, self._forward, first, part, items, multiplier)
        back = self._crossings(products.T, self._backward, block.rows.start, items, part, multiplier)
        undecided = len(there.near_pairs) + len(back.near_pairs)
        if multiplier.precision != "fp64" and undecided > max(1024, UNDECIDED * len(part) * len(items)):
            return False
        self._note_others(products, first, part, block, multiplier)

        forward, backward = self._forward, self._backward
        forward.above[there.pairs] += there.above
        query = forward.pairs.queries[there.near_pairs] - first
        values = similarities(self._measure, part, items, query, there.near_items)
        forward.add(there.near_pairs, there.near_items + block.rows.start, values)

        backward.above[back.pairs] += back.above
        item = backward.pairs.queries[back.near_pairs] - block.rows.start
        own = backward.pairs.items[back.near_pairs] - self._panel.rows.start
        here = (own >= 0) & (own < len(self._alike))
        same = here & (self._alike[np.where(here, own, 0)] == self._alike[back.near_items + tile.start])
        values = backward.thresholds[back.near_pairs]
        differ = np.flatnonzero(~same)
        values[differ] = similarities(self._measure, part, items, back.near_items[differ], item[differ])
        backward.add(back.near_pairs, back.near_items + first, values)
        return True

    def _crossings(
        self, products: Any, tally: Tally, first: int, queries: Prepared, items: Prepared, multiplier: Multiplier
    ) -> Crossings:
        pairs = slice(int(tally.starts[first]), int(tally.starts[first + len(queries)]))
        thresholds = tally.thresholds[pairs]
        margin = margins(thresholds, queries, tally.pairs.queries[pairs] - first, items, multiplier.arithmetic)
        return multiplier.crossings(products, tally, first, thresholds, margin)

    def _note_others(self, products: Any, first: int, part: Prepared, block: Held, multiplier: Multiplier) -> None:
        """Writes over the products of right answers."""
        if self._answers is None:
            return
        low, high = np.searchsorted(self._answers.queries, [first, first + len(part)])
        own, columns = self._answers.queries[low:high] - first, self._answers.items[low:high] - block.rows.start
        here = (columns >= 0) & (columns < len(block.prepared))
        products[own[here], columns[here]] = -np.inf
        some = slice(first, first + len(part))
        best = row_maxima(products)
        most = (part.lengths * block.prepared.lengths.max(initial=0.0)).astype(np.float32)
        slack = margins(most, part, slice(None), block.prepared, multiplier.arithmetic)
        np.maximum(self._others.similarities[some], best, out=self._others.similarities[some])
        np.maximum(self._others.slack[some], slack, out=self._others.slack[some])


def _alike(rows: Prepared) -> NDArray[np.int64]:
    """(n,) a number that equal rows share.

    Items that equal a query's answer are level with it. Where captions repeat, these are most of the undecided ones.
    """
    generator = np.random.default_rng(0)
    sums = np.zeros(len(rows), np.uint64)
    for part in rows.exact:
        factors = generator.integers(0, 1 << 63, part.shape[1], np.uint64) | np.uint64(1)
        for some in row_blocks(*part.shape):
            sums[some] += (np.ascontiguousarray(part[some]).view(np.uint64) * factors).sum(axis=1)
    _, first, group = np.unique(sums, return_index=True, return_inverse=True)
    like = first[group]
    for part in rows.exact:
        for some in row_blocks(*part.shape):
            differ = np.flatnonzero((part[some] != part[like[some]]).any(axis=1)) + some.start
            group[differ] = len(first) + differ
    return np.asarray(group, np.int64)
