"""Rows of an embedding cache, read when they are asked for."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.score.ranking import Array


class RowSource(Protocol):
    """An artifact, or an array in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, dim)."""

    def __getitem__(self, numbers: Any) -> Any:
        """Rows by number, (selected, dim)."""


class StoredRows:
    """Chosen rows of an embedding cache, in an order of one's own.

    Args:
        source: where they lie.
        numbers: (n,) which of its rows; all of them by default.
    """

    def __init__(self, source: RowSource, numbers: NDArray[np.int64] | None = None) -> None:
        self._source = source
        self._numbers = np.arange(source.shape[0]) if numbers is None else numbers
        self.shape = len(self._numbers), source.shape[1]

    def __len__(self) -> int:
        return len(self._numbers)

    def only(self, chosen: Array) -> StoredRows:
        """Some of these rows, by number or mask."""
        return StoredRows(self._source, self._numbers[chosen])

    def numpy(self, chosen: Array | slice = slice(None)) -> Array:
        """(chosen, dim), all rows by default.

        Raises:
            UserError: the cache is damaged.
        """
        rows: Array = self._source[self._numbers[chosen]]
        return rows
