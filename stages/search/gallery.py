"""Exact search: the clips of an embedding cache most similar to queries, a block of rows at a time.

Rows stay in the file and are mapped into memory; only a block of them in each thread is ever float32. Similarity is the
cosine, in float32: the fast relative of the float64 sums that scoring uses, for people who look at the first results.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.artifact import Artifact
from cache.errors import UserError

Floats = NDArray[np.float32]

BLOCK_BYTES = 8 << 20
"""Of a block of rows in float32, in each thread."""

FEW, FEW_BYTES = 16, 2 << 20
"""For so few queries: what a processor's cache holds between conversion and product."""

SMALLEST_NORM = 1e-8
"""Shorter rows have no direction: their similarity to anything is 0."""


class Gallery:
    """The rows of one embedding cache as a gallery that queries are compared with.

    Args:
        artifact: rows of one length each.
        threads: that multiply; one per processor by default.

    Attributes:
        ids: of the rows.

    Raises:
        UserError: the cache has many rows of each clip, or is damaged.
    """

    def __init__(self, artifact: Artifact, threads: int | None = None) -> None:
        if artifact.format.ragged:
            raise UserError(f"{artifact.path} holds many rows of each clip: only one row of each can be searched.")
        self.artifact, self.ids, self.dim = artifact, artifact.ids, artifact.format.dim
        self._threads = threads or len(os.sched_getaffinity(0))
        self._inverse_norms: Floats | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def identity(self) -> str:
        """What tells whether an embedding cache has other rows: a hash of its keys and its fingerprint."""
        digest = hashlib.blake2b(str(self.artifact.description.get("fingerprint")).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.artifact.keys).tobytes())
        return digest.hexdigest()

    def vectors(self, rows: Sequence[int]) -> Floats:
        """Rows by number as queries, (rows, dim), of length 1."""
        return unit(np.asarray(self.artifact[list(rows)], np.float32))

    def similarities(self, queries: Floats) -> Floats:
        """Cosine similarity of a few queries (q, dim) to all rows: float32 (q, rows).

        Raises:
            UserError: the embedding cache is damaged, or the queries are of another length.
        """
        result = np.empty((len(queries), len(self)), np.float32)

        def keep(start: int, sims: Floats) -> None:
            result[:, start : start + sims.shape[1]] = sims

        self._each_block(queries, keep)
        return result

    def top(
        self, queries: Floats, k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Floats, NDArray[np.int64]]:
        """The k most similar rows of each query, best first; of equal ones the earlier row.

        Args:
            queries: (q, dim).
            k: at most so many; fewer where the gallery is smaller.
            allowed: (rows,), False for rows that are left out.

        Returns:
            Similarities float32 (q, k), and row numbers (q, k).
        """
        k = min(k, len(self) if allowed is None else int(np.count_nonzero(allowed)))
        found = _Top(len(queries), k)

        def keep(start: int, sims: Floats) -> None:
            if allowed is not None:
                sims[:, ~allowed[start : start + sims.shape[1]]] = -np.inf
            found.add(sims, start)

        self._each_block(queries, keep)
        return found.result()

    def _each_block(self, queries: Floats, keep: Callable[[int, Floats], None]) -> None:
        """Hands similarities to `keep` a block at a time, from several threads."""
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise UserError(
                f"{self.artifact.path} holds rows of {self.dim} numbers and the query has {queries.shape[-1]}: both "
                "must come from one encoder."
            )
        queries = unit(queries)
        norms = np.empty(len(self), np.float32) if self._inverse_norms is None else None

        step = max(1, (FEW_BYTES if len(queries) <= FEW else BLOCK_BYTES) // (4 * self.dim))
        starts = iter(range(0, len(self), step))  # shared: each thread takes the next block

        def work() -> None:
            memory = np.empty((step, self.dim), np.float32)
            for start in starts:
                stop = min(len(self), start + step)
                rows = self.artifact.read_float32(start, stop, memory[: stop - start])
                if norms is not None:
                    norms[start:stop] = inverse_norms(rows)
                known = norms if norms is not None else self._inverse_norms
                assert known is not None
                if len(queries) > FEW:
                    rows *= known[start:stop, None]
                    keep(start, queries @ rows.T)
                else:
                    keep(start, (queries @ rows.T) * known[start:stop])

        threads = min(self._threads, -(-len(self) // step))
        if threads <= 1:
            work()
        else:
            with _BLAS.one_thread(), ThreadPoolExecutor(threads, "search") as pool:
                for done in [pool.submit(work) for _ in range(threads)]:
                    done.result()
        if norms is not None:
            self._inverse_norms = norms


class _Top:
    """The k best rows of each query, of blocks that come in any order; of equal ones the earlier row.

    Args:
        queries: their number.
        k: of each.
    """

    def __init__(self, queries: int, k: int) -> None:
        self._queries, self._k = queries, k
        self._limits = np.full(queries, -np.inf, np.float32)
        """What a row has to reach for each query."""
        self._kept: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]] = []
        """Numbers of queries, rows and similarities that may be among the best."""
        self._n_kept = 0
        self._lock = threading.Lock()

    def add(self, sims: Floats, start: int) -> None:
        """Takes a block (queries, rows), which begins with row number `start`."""
        limits = self._limits
        if np.isfinite(limits).all():
            numbers, columns = np.nonzero(sims >= limits[:, None])
            part = numbers, columns + start, sims[numbers, columns]
        else:
            values, rows = best(sims, min(self._k, sims.shape[1]), start)
            part = np.repeat(np.arange(self._queries), values.shape[1]), np.ravel(rows), np.ravel(values)
        with self._lock:
            self._kept.append(part)
            self._n_kept += len(part[0])
            if self._n_kept > 4 * self._queries * self._k:
                self._merge()

    def result(self) -> tuple[Floats, NDArray[np.int64]]:
        """Similarities (queries, k), best first, and row numbers."""
        if not self._kept:  # no queries, or no rows
            return np.zeros((self._queries, 0), np.float32), np.zeros((self._queries, 0), np.int64)
        self._merge()
        _, rows, sims = self._kept[0]
        shape = self._queries, len(rows) // max(1, self._queries)
        return sims.reshape(shape), rows.reshape(shape)

    def _merge(self) -> None:
        numbers, rows, sims = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        order = np.lexsort((rows, -sims, numbers))
        numbers, rows, sims = numbers[order], rows[order], sims[order]
        first = np.searchsorted(numbers, np.arange(self._queries + 1))
        kept = np.arange(len(numbers)) - first[numbers] < self._k
        full = np.diff(first) >= self._k
        if self._k:
            limits = np.full(self._queries, -np.inf, np.float32)
            limits[full] = sims[first[:-1][full] + self._k - 1]
            self._limits = limits
        self._kept = [(numbers[kept], rows[kept], sims[kept])]
        self._n_kept = 0


def best(sims: Floats, k: int, start: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    """The k largest of each row of similarities and their columns (plus `start`), in no order; of equal ones the first.

    Example:
        >>> best(np.array([[0.1, 0.9, 0.9, 0.3]], np.float32), 1)[1].tolist()
        [[1]]
    """
    n = sims.shape[1]
    if k >= n:
        return sims, np.broadcast_to(np.arange(start, start + n), sims.shape)
    limit = -np.partition(-sims, k - 1, axis=1)[:, k - 1 : k] if k else np.full((len(sims), 1), np.inf, np.float32)
    columns = np.empty((len(sims), k), np.int64)
    for row, (values, least) in enumerate(zip(sims, limit[:, 0], strict=True)):
        above = np.flatnonzero(values > least)
        level = np.flatnonzero(values == least)[: k - len(above)]
        columns[row] = np.concatenate([above, level])
    return np.take_along_axis(sims, columns, 1), columns + start


def unit(vectors: Floats) -> Floats:
    """Vectors (n, dim) divided by their lengths, float32."""
    wide = np.asarray(vectors, np.float64)
    return (wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), SMALLEST_NORM)).astype(np.float32)


def inverse_norms(rows: Floats) -> Floats:
    """1 / length of each row (n, dim)."""
    squares = np.einsum("nd,nd->n", rows, rows)
    return (1 / np.maximum(np.sqrt(squares), SMALLEST_NORM)).astype(np.float32)


class _Blas:
    """The threads of numpy's products in this process, which would stand in the way of ours."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._limits: Any = None

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Lets products take one thread each until the last block of several at a time ends."""
        with self._lock:
            if not self._users:
                self._limits = self._controller.limit(limits=1, user_api="blas")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._limits.restore_original_limits()

    @cached_property
    def _controller(self) -> Any:
        from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

        return ThreadpoolController()


_BLAS = _Blas()
