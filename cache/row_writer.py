"""Gathers rows as they are computed and commits them in batches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cache import keys as row_keys
from cache.rows import Rows

if TYPE_CHECKING:
    from cache.row_store import RowStore


class RowWriter:
    """Commits every so many rows, bytes or seconds, and what is left at the end of its `with`, errors included.

    A run that is killed loses what it has not committed: at most `seconds` of work. Segments of 16,384 rows keep a
    store of millions of rows at hundreds of segments.

    Args:
        store: takes the rows.
        provenance: written beside them.
        rows: commit after so many.
        nbytes: commit after so many bytes of values.
        seconds: commit, with the next rows, after so long.

    Attributes:
        committed: number of rows so far that are durable.
    """

    def __init__(
        self,
        store: RowStore,
        provenance: Mapping[str, Any],
        *,
        rows: int = 1 << 14,
        nbytes: int = 64 << 20,
        seconds: float = 30.0,
    ) -> None:
        self._store = store
        self._provenance = provenance
        self._limits = (rows, nbytes, seconds)
        self._parts: list[Rows] = []
        self._last = time.monotonic()
        self.committed = 0

    def add(self, keys: row_keys.Keys, values: Any, side: Mapping[str, Any] | None = None) -> None:
        """Takes rows as `RowStore.append` does; they may be committed later.

        Raises:
            UserError: the rows are refused, or what had gathered could not be written.
        """
        self.add_rows(Rows.of(self._store.format, keys, values, side, where=f"A batch for {self._store.path}"))

    def add_rows(self, rows: Rows) -> None:
        """Takes rows that have been checked before."""
        if len(rows):
            self._parts.append(rows)
        gathered = (sum(map(len, self._parts)), sum(part.nbytes for part in self._parts))
        if gathered[0] >= self._limits[0] or gathered[1] >= self._limits[1] or self.seconds > self._limits[2]:
            self.commit()

    @property
    def seconds(self) -> float:
        """Time since the last commit."""
        return time.monotonic() - self._last

    def commit(self) -> None:
        """Makes everything added so far durable and visible.

        Raises:
            UserError: a key came twice since the last commit, or the disk refuses.
        """
        if self._parts:
            rows = Rows.join(self._store.format, self._parts)
            self._parts = []
            rows.check_distinct(f"A batch for {self._store.path}")
            self._store.append_rows(rows, self._provenance)
            self.committed += len(rows)
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.commit()
