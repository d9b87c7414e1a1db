"""Both directions of retrieval between queries and a gallery whose rows belong together in pairs.

Rows of the larger of the two are compared with all of the other, a block at a time; where all similarities fit into
memory there is one block, which is kept and sorted. Of a block that is not kept it is counted what stands above each
right answer, which tells ranks, average precision and nDCG all the same: numbers do not depend on the size of blocks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from stages.score import examples
from stages.score.counts import Counts
from stages.score.functional.blocks import submatrix
from stages.score.functional.graded import GradedScores, graded_scores, scores_of_places
from stages.score.functional.ranking import Array, Ties, best_places, place_among_equals
from stages.score.functional.similarity import finite
from stages.score.functional.transforms import Directed, transform_of
from stages.score.items import Items, Measure, Pairs

BLOCK_BYTES = 48 << 20
"""Of a block where not all similarities fit into memory: malloc takes its float64 sums from the heap, not new pages."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """One direction: where the best right answer of each query stands, and how well all of them are ranked.

    Attributes:
        queries: (q,) numbers of the queries that have an answer.
        above: (q,) items more similar than the best right one.
        level: (q,) items exactly as similar: itself and those that are no answer.
        n_answers: (q,) right answers.
        graded: average precision and nDCG of each, answers being all alike relevant; None if it was not asked for.
        n_items: items ranked.
    """

    queries: NDArray[np.int64]
    above: NDArray[np.int64]
    level: NDArray[np.int64]
    n_answers: NDArray[np.int64]
    graded: GradedScores | None
    n_items: int

    def ranks(self, ties: Ties = "mean") -> NDArray[np.float64]:
        """(q,) 1-based rank of the best right item; `ties` as in `ranking.ranks_of_best`."""
        return (self.above + place_among_equals(self.level, ties)).astype(np.float64)


class Retrieval:
    """Queries against a gallery.

    Args:
        queries: rows, each of which is in a pair.
        gallery: rows.
        measure: how they are compared.
        pairs: which of them belong together.
        transform: of the similarities, which takes the whole matrix.

    Raises:
        UserError: a transform does not fit into memory, an embedding cache is damaged, or its numbers are too large.
    """

    def __init__(self, queries: Items, gallery: Items, measure: Measure, pairs: Pairs, transform: str = "none") -> None:
        self._queries, self._gallery, self._measure, self._pairs = queries, gallery, measure, pairs
        self._transform = transform
        memory, needed = score_memory(), matrix_bytes(len(queries), len(gallery), queries.dim)
        self._sims: NDArray[np.float32] | None = None
        self._margins: NDArray[np.float64] | None = None
        self._block_bytes = min(BLOCK_BYTES, memory / 4)
        if needed <= memory:
            self._sims = measure.matrix(queries.read(), gallery.read())
            finite(self._sims[pairs.queries, pairs.items])
        elif transform != "none":
            raise too_large(f"Transform {transform!r}", len(queries), len(gallery), needed, memory)

    def ranked(
        self, queries: NDArray[np.bool_], items: NDArray[np.bool_], graded: bool = True
    ) -> tuple[Ranked, Ranked]:
        """Queries that search the gallery, and items of the gallery that search queries.

        Args:
            queries: (Q,) those that take part.
            items: (N,) likewise.
            graded: whether average precision and nDCG are wanted, for which all right answers are looked at.
        """
        pairs = self._pairs.only(queries, items)
        if self._sims is None:
            return self._counted(queries, items, pairs, graded)
        sims = submatrix(self._sims, queries, items)
        directed: Directed = transform_of(self._transform)(sims, np.ones(len(sims), np.int64))
        right = pairs.mask(len(sims), sims.shape[1])
        backward = np.ascontiguousarray(directed.clip_to_text.T), np.ascontiguousarray(right.T)
        return rank_rows(directed.text_to_clip, right, graded), rank_rows(*backward, graded)

    def _counted(
        self, queries: NDArray[np.bool_], items: NDArray[np.bool_], pairs: Pairs, graded: bool
    ) -> tuple[Ranked, Ranked]:
        chosen = self._queries.only(queries), self._gallery.only(items)
        turned = len(chosen[0]) < len(chosen[1])  # the larger one comes in blocks, the smaller one is held
        rows, columns = chosen[::-1] if turned else chosen
        if turned:
            pairs = pairs.turned()
        values = finite(self._measure.of_pairs(rows, columns, pairs))
        margins = bool(queries.all() and items.all())
        of_rows = Counts(pairs, values, len(rows), len(columns), graded, margins and not turned)
        of_columns = Counts(*pairs.turned_with(values), len(columns), len(rows), graded, margins and turned)
        for first, sims in self._blocks(rows, columns):
            some = slice(*np.searchsorted(pairs.queries, [first, first + len(sims)]))
            right = pairs.queries[some] - first, pairs.items[some]
            sims[right] = values[some]
            of_rows.add(sims, right, first)
            of_columns.add(sims, right, first, columns=True)
        if margins:
            self._margins = (of_columns if turned else of_rows).margins()
        both = _ranked(of_rows), _ranked(of_columns)
        return both[::-1] if turned else both

    def _blocks(self, rows: Items, columns: Items) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Number of the first row and similarities to all columns, of some rows at a time; the next are read ahead."""
        held = self._measure.prepared(unbroken(columns.read()))
        step = max(16, int(self._block_bytes / (12 * len(columns) + 16 * rows.dim)))
        starts = range(0, len(rows), step)
        with ThreadPoolExecutor(1, "read-rows") as pool:
            ahead = [pool.submit(rows.read, slice(start, start + step)) for start in starts[:1]]
            for number, start in enumerate(starts):
                block = unbroken(ahead.pop().result(), start)
                ahead += [
                    pool.submit(rows.read, slice(later, later + step)) for later in starts[number + 1 : number + 2]
                ]
                yield start, self._measure.products(self._measure.prepared(block), held)

    def best_and_worst(
        self, ranks: NDArray[np.float64], texts: Sequence[str], item_ids: Sequence[str]
    ) -> list[dict[str, Any]]:
        """See `examples.best_and_worst`; asked for after `ranked` of all queries and items.

        Args:
            ranks: of all queries.
            texts: of the queries.
            item_ids: of the gallery.
        """
        shape = len(self._queries), len(self._gallery)
        if self._sims is not None:
            right = self._pairs.mask(*shape)
            return examples.best_and_worst(self._sims, right, np.arange(shape[0]), ranks, texts, item_ids)
        assert self._margins is not None
        shown = np.unique([query for _, query in examples.ends(ranks, self._margins)])
        blocks = self._blocks(self._gallery, self._queries.only(shown))
        sims = np.ascontiguousarray(np.concatenate([block for _, block in blocks]).T)
        some = np.zeros(shape[0], bool)
        some[shown] = True
        right = self._pairs.only(some, np.ones(shape[1], bool)).mask(*sims.shape)
        names = [texts[query] for query in shown]
        return examples.best_and_worst(sims, right, np.arange(len(shown)), ranks[shown], names, item_ids)

    def heatmap(self, texts: Sequence[str], item_ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        """See `examples.heatmap`."""
        described, first = np.unique(self._pairs.queries, return_index=True)
        rows, columns = examples.heatmap_cells(described, self._pairs.items[first])
        if self._sims is not None:
            sims = self._sims[np.ix_(rows, columns)]
        else:
            sims = self._measure.matrix(self._queries.read(rows), self._gallery.read(columns))
        return examples.labelled(sims, rows, columns, texts, item_ids)


def unbroken(parts: list[NDArray[np.float64]], first: int = 0) -> list[NDArray[np.float64]]:
    """Embeddings (n, dim) of each encoder, as they are.

    Args:
        parts: the embeddings.
        first: number of the first row.

    Raises:
        ValueError: one is nan or infinite, which would rank first and last at once.
    """
    for part in parts:
        bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
        if len(bad):
            raise ValueError(
                f"the similarities of row {first + bad[0]} hold nan: an embedding is broken; "
                "look for nan in the embedding caches this experiment reads"
            )
    return parts


def rank_rows(sims: Array, right: NDArray[np.bool_], graded: bool = True) -> Ranked:
    """Ranks all items for each query that has an answer.

    Args:
        sims: (Q, N) similarities.
        right: (Q, N), True where the item answers the query.
        graded: whether average precision and nDCG are wanted.
    """
    answered = right.any(axis=1)
    if not answered.all():
        sims, right = sims[answered], right[answered]
    scores = graded_scores(sims, right.astype(np.float64)) if graded else None
    return Ranked(np.flatnonzero(answered), *best_places(sims, right), right.sum(axis=1), scores, sims.shape[1])


def _ranked(counts: Counts) -> Ranked:
    places = counts.places()
    scores = None if places is None else scores_of_places(places, counts.n_answers, counts.n_items)
    return Ranked(counts.queries, *counts.best(), counts.n_answers, scores, counts.n_items)


MEMORY_VARIABLE = "HEARONCE_SCORE_MEMORY"
SHARE_OF_MACHINE = 0.25
GIB = float(1 << 30)

BYTES_PER_CELL = 20
"""Of a similarity with the copies that ranking makes of it, and of what is right."""

BYTES_OF_SIMILARITY, BYTES_PER_NUMBER = 4, 24
"""While similarities are computed, of one and of each number of an embedding: in float64, of unit length, squared."""

_LIMIT_OF_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def score_memory() -> float:
    """Bytes that scoring may take: `$HEARONCE_SCORE_MEMORY` in GiB, else a quarter of what this machine has.

    Raises:
        UserError: the variable is no positive number.
    """
    text = os.environ.get(MEMORY_VARIABLE, "").strip()
    if not text:
        return SHARE_OF_MACHINE * _machine_memory()
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text) * GIB
    raise UserError(f"{MEMORY_VARIABLE}={text} is no number of GiB: set it to one above 0, or unset it.")


def matrix_bytes(n_queries: int, n_items: int, dim: int) -> float:
    """What scoring takes with all similarities, and before that all embeddings, in memory."""
    cells, numbers = float(n_queries) * n_items, float(n_queries + n_items) * dim
    return max(BYTES_PER_CELL * cells, BYTES_OF_SIMILARITY * cells + BYTES_PER_NUMBER * numbers)


def too_large(what: str, n_queries: int, n_items: int, needed: float, memory: float) -> UserError:
    """The sentence for what cannot be done block by block."""
    return UserError(
        f"{what} needs all {n_queries:,} × {n_items:,} similarities in memory, about "
        f"{needed / GIB:,.1f} GiB, and scoring may take {memory / GIB:.1f} GiB: set "
        f"{MEMORY_VARIABLE} to more GiB on a machine that has them, or use `transform: none`."
    )


def _machine_memory() -> float:
    memory = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        memory = min(memory, float(_LIMIT_OF_CONTAINER.read_text()))
    return memory
