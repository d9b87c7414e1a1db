"""Reads one dataset of an HDF5 artifact, and finds the chunks of it that are damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cache.errors import Damage, DamageError

BROKEN = (OSError, RuntimeError, ValueError, KeyError, TypeError)
"""What h5py raises on damaged bytes."""


class Hdf5Array:
    """One dataset.

    Args:
        dataset: of h5py.
        file: its name, for messages.
        check_file: whether the whole file is what was written; asked when a chunk reads as nothing but zeros.
    """

    def __init__(self, dataset: Any, file: str, check_file: Callable[[], bool]) -> None:
        self._dataset = dataset
        self._check_file = check_file
        self._file = file
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype = np.dtype(dataset.dtype)
        self._chunk = dataset.chunks[0] if dataset.chunks else max(1, self.shape[0])

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop."""
        stop = self.shape[0] if stop is None else stop
        try:
            block = np.asarray(self._dataset[start:stop])
        except BROKEN:
            raise DamageError(self._damages(start // self._chunk, -(-stop // self._chunk))) from None
        if not len(block):
            return block
        raw = np.ascontiguousarray(block).view(np.uint8).reshape(len(block), -1)
        for row in (start, *range(start - start % self._chunk + self._chunk, stop, self._chunk)):
            if not raw[row - start].any() and not raw[row - start : row - start + self._chunk].any():
                if self._check_file():
                    break
                raise DamageError([Damage(self._file, (row, min(stop, row + self._chunk)), "has lost its bytes")])
        return block

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows by number, in the order asked for."""
        rows = np.asarray(rows, np.int64)
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return self.read(int(rows[0]), int(rows[-1]) + 1)
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if not len(rows):
            return out
        order = np.argsort(rows, kind="stable")
        numbers = rows[order]
        chunks, starts = np.unique(numbers // self._chunk, return_index=True)
        for chunk, a, b in zip(chunks.tolist(), starts, [*starts[1:], len(rows)], strict=True):
            first = chunk * self._chunk
            block = self.read(first, min(self.shape[0], first + self._chunk))
            out[order[a:b]] = block[numbers[a:b] - first]
        return out

    def damages(self) -> list[Damage]:
        """Reads everything and lists what does not match its checksum."""
        return self._damages(0, -(-self.shape[0] // self._chunk))

    def _damages(self, first: int, last: int) -> list[Damage]:
        found = []
        for chunk in range(first, last):
            rows = (chunk * self._chunk, min(self.shape[0], (chunk + 1) * self._chunk))
            try:
                _ = self._dataset[rows[0] : rows[1]]
            except BROKEN:
                found.append(Damage(self._file, rows, f"does not match its checksum in {self._dataset.name[1:]}"))
        return found
