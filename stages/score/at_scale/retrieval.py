"""Both directions of retrieval between two sides whose matrix of similarities would not fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.score import examples
from stages.score.at_scale.counting import Others, count
from stages.score.at_scale.nearest import nearest
from stages.score.at_scale.products import FAST, Multiplier
from stages.score.at_scale.sides import Measure, Prepared, Side, prepare, similarities
from stages.score.at_scale.tally import Tally
from stages.score.at_scale.walk import DEFAULT, Steps, pair_similarities
from stages.score.pairs import Pairs
from stages.score.similarity import finite


class LargeRetrieval:
    """Retrieval over embedding caches read a block at a time.

    Args:
        queries: one side; where the two differ in size the smaller one is best, since it is held in memory.
        items: the other.
        measure: how they are compared.
        pairs: which of them belong together.
        multiplier: device and precision of the products.
        steps: rows at a time.
    """

    def __init__(
        self,
        queries: Side,
        items: Side,
        measure: Measure,
        pairs: Pairs,
        multiplier: Multiplier = FAST,
        steps: Steps = DEFAULT,
    ) -> None:
        self._queries, self._items, self._measure, self._pairs = queries, items, measure, pairs
        self._multiplier, self._steps = multiplier, steps
        self._others: Others | None = None
        self._best: Tally | None = None

    def tallies(self, queries: NDArray[np.bool_], items: NDArray[np.bool_], best: bool = False) -> tuple[Tally, Tally]:
        """Counts what stands above right answers: of queries that search items, and of items that search queries.

        Args:
            queries: (Q,) those that take part.
            items: (N,) likewise.
            best: whether the best answer of each is enough: for ranks, not for average precision and nDCG.
        """
        whole = bool(queries.all() and items.all())
        pairs = self._pairs if whole else self._pairs.only(queries, items)
        some, others = (self._queries, self._items) if whole else (self._queries.only(queries), self._items.only(items))
        values = finite(pair_similarities(some, others, self._measure, pairs, self._steps.block))
        turned, order = pairs.turned()
        forward = Tally(pairs, values, len(some), len(others))
        backward = Tally(turned, values[order], len(others), len(some))
        of_best = forward.of_best()
        if best:
            forward, backward = of_best, backward.of_best()
        noted = count(
            some, others, self._measure, forward, backward, pairs if whole else None, self._multiplier, self._steps
        )
        if whole:
            self._best, self._others = of_best, noted
        return forward, backward

    def best_and_worst(
        self, ranks: NDArray[np.float64], texts: Sequence[str], item_ids: Sequence[str]
    ) -> list[dict[str, Any]]:
        """What `examples.best_and_worst` gives, after `tallies` of all queries and items, each query with an answer.

        Args:
            ranks: of the queries.
            texts: of the queries.
            item_ids: of the items.
        """
        assert self._best is not None and self._others is not None
        rows, right = self._best.pairs.queries, self._best.thresholds
        other = np.maximum(self._others.similarities[rows], -2.0)
        slack = self._others.slack[rows] + 1e-6  # differences are rounded to float32
        margins = right.astype(np.float64) - other
        chosen = examples.contenders(ranks, margins - slack, margins + slack)
        starts = np.searchsorted(self._pairs.queries, [rows[chosen], rows[chosen] + 1])
        answers = [set(self._pairs.items[first:last].tolist()) for first, last in starts.T.tolist()]
        k = max(examples.N_TOP, 1 + max(len(one) for one in answers))
        only = self._queries.only(rows[chosen])
        values, items = nearest(only, self._items, self._measure, k, self._multiplier, self._steps)
        wrong = np.array(
            [[one not in right for one in row] for row, right in zip(items.tolist(), answers, strict=True)]
        )
        other = np.where(wrong, values, np.float32(examples.LEAST_SIMILAR)).max(axis=1)
        exact = right[chosen] - np.maximum(other, np.float32(examples.LEAST_SIMILAR))
        found = []
        for kind, one in examples.ends(ranks[chosen], exact.astype(np.float64), len(ranks)):
            top = [
                (item_ids[item], value, item in answers[one])
                for item, value in zip(items[one, : examples.N_TOP].tolist(), values[one], strict=False)
            ]
            query = chosen[one]
            expected = item_ids[self._best.pairs.items[query]]
            found.append(examples.record(kind, texts[rows[query]], float(ranks[query]), expected, top))
        return found

    def heatmap(self, texts: Sequence[str], item_ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        """What `examples.heatmap` gives."""
        described, first = np.unique(self._pairs.queries, return_index=True)
        rows, columns = examples.heatmap_cells(described, self._pairs.items[first])
        cells = np.indices((len(rows), len(columns))).reshape(2, -1)
        sides = self._prepared(self._queries, rows, True), self._prepared(self._items, columns, False)
        sims = similarities(self._measure, *sides, cells[0], cells[1]).reshape(len(rows), len(columns))
        return examples.labelled(sims, rows, columns, texts, item_ids)

    def _prepared(self, side: Side, rows: NDArray[np.int64], weighted: bool) -> Prepared:
        return prepare(side.read(rows), self._measure, weighted)
