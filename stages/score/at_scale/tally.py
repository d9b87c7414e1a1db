"""Right answers of queries, and how many items stand above each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.score.graded import GradedScores, scores_of_places
from stages.score.pairs import Pairs
from stages.score.ranking import Ties, place_among_equals


class Tally:
    """One direction of retrieval: what is known of each right answer.

    Args:
        pairs: the answers.
        thresholds: float32 (p,) the similarity of each pair.
        n_queries: Q; those without an answer are not ranked for.
        n_items: N.

    Attributes:
        above: (p,) items more similar to the query than this answer.
        level: (p,) items exactly as similar, itself among them.
        earlier: (p,) those of them that come before it.
    """

    def __init__(self, pairs: Pairs, thresholds: NDArray[np.float32], n_queries: int, n_items: int) -> None:
        self.pairs, self.thresholds = pairs, thresholds
        self.n_queries, self.n_items = n_queries, n_items
        self.starts = np.searchsorted(pairs.queries, np.arange(n_queries + 1))
        self.above, self.level, self.earlier = (np.zeros(len(pairs), np.int64) for _ in range(3))

    def of_best(self) -> Tally:
        """Of each query's answers only one of the most similar, which its rank is that of."""
        order = np.lexsort((-self.thresholds, self.pairs.queries))
        best = order[self.starts[:-1][np.diff(self.starts) > 0]]
        pairs = Pairs(self.pairs.queries[best], self.pairs.items[best])
        return Tally(pairs, self.thresholds[best], self.n_queries, self.n_items)

    def add(self, pairs: NDArray[np.int64], items: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Counts single items against single pairs.

        Args:
            pairs: (n,) numbers of pairs.
            items: (n,) the items, numbers among all.
            values: (n,) how similar they are to the pairs' queries.
        """
        thresholds = self.thresholds[pairs]
        np.add.at(self.above, pairs[values > thresholds], 1)
        level = np.flatnonzero(values == thresholds)
        pairs, items = pairs[level], items[level]
        np.add.at(self.level, pairs, 1)
        np.add.at(self.earlier, pairs[items < self.pairs.items[pairs]], 1)

    def queries(self) -> NDArray[np.int64]:
        """(q,) numbers of the queries that have an answer."""
        return np.flatnonzero(np.diff(self.starts))

    def ranks(self, ties: Ties) -> NDArray[np.float64]:
        """(q,) what `ranking.ranks_of_best` gives for queries that have an answer."""
        order = np.lexsort((self.above, self.pairs.queries))
        best = order[self.starts[:-1][np.diff(self.starts) > 0]]
        ranks: NDArray[np.float64] = self.above[best] + place_among_equals(self.level[best], ties)
        return ranks.astype(np.float64)

    def graded(self) -> GradedScores:
        """What `graded.graded_scores` gives for these queries, answers being all alike relevant."""
        places = self.above + self.earlier
        order = np.lexsort((places, self.pairs.queries))
        counts = np.diff(self.starts)
        return scores_of_places(places[order], counts[counts > 0], self.n_items)
