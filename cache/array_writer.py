"""Writes an array as shard files, a block at a time, faster than one write per chunk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from google_crc32c import value as crc32c

from cache import documents
from cache.array_spec import ArraySpec

_BUFFER_BYTES = 4 << 20


class ArrayWriter:
    """One array, filled from its beginning to its end.

    Args:
        folder: the array's folder; must not exist yet.
        spec: what it will be; `append` must bring exactly that many rows.
    """

    def __init__(self, folder: Path, spec: ArraySpec) -> None:
        folder.mkdir()
        self._folder = folder
        self._spec = spec
        (folder / "zarr.json").write_bytes(documents.plain(spec.document()))
        chunk_bytes = spec.stride - 4
        slots = max(1, min(spec.n_chunks(0) if spec.shape[0] else 1, _BUFFER_BYTES // spec.stride))
        self._framed = np.zeros((slots, spec.stride), np.uint8)
        self._chunks = self._framed[:, :chunk_bytes]
        self._sums = self._framed[:, chunk_bytes:]
        self._pending = np.zeros((slots, chunk_bytes), np.uint8)
        self._filled = 0  # bytes of _pending
        self._chunk = 0  # chunks written so far
        self._rows = 0
        self._file: BinaryIO | None = None

    def append(self, rows: np.ndarray) -> None:
        """Adds rows, of any number."""
        if rows.shape[1:] != self._spec.shape[1:] or rows.dtype != self._spec.dtype:
            raise ValueError(f"{self._folder}: rows {rows.shape} {rows.dtype} do not fit {self._spec}")
        self._rows += len(rows)
        if self._rows > self._spec.shape[0]:
            raise ValueError(f"{self._folder}: more than the {self._spec.shape[0]} rows announced")
        data = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        flat = self._pending.reshape(-1)
        while len(data):
            n = min(len(data), len(flat) - self._filled)
            flat[self._filled : self._filled + n] = data[:n]
            self._filled += n
            data = data[n:]
            if self._filled == len(flat):
                self._flush(len(self._pending))

    def close(self) -> None:
        """Writes what is left; the files are not synced."""
        if self._rows != self._spec.shape[0]:
            raise ValueError(f"{self._folder}: {self._rows} of the {self._spec.shape[0]} rows announced")
        if self._filled:
            flat = self._pending.reshape(-1)
            flat[self._filled :] = 0
            self._flush(-(-self._filled // self._pending.shape[1]))

    def abandon(self) -> None:
        """Closes the open file after an error."""
        if self._file is not None:
            self._file.close()

    def _flush(self, n: int) -> None:
        self._chunks[:n] = self._pending[:n]
        sums = np.array([crc32c(chunk) for chunk in self._pending[:n]], "<u4")
        self._sums[:n] = sums.view(np.uint8).reshape(n, 4)
        per_shard = self._spec.shard_rows // self._spec.chunk_rows
        start = 0
        while start < n:
            shard, at = divmod(self._chunk, per_shard)
            stop = min(n, start + per_shard - at)
            if self._file is None:
                self._file = (self._folder / self._spec.shard_name(shard)).open("xb", buffering=0)
            _write(self._file, self._framed[start:stop])
            self._chunk += stop - start
            start = stop
            if self._chunk == shard * per_shard + self._spec.n_chunks(shard):
                index = self._spec.index(shard).reshape(-1).view(np.uint8)
                _write(self._file, np.concatenate([index, np.array([crc32c(index)], "<u4").view(np.uint8)]))
                self._file.close()
                self._file = None
        self._filled = 0


def _write(file: BinaryIO, data: np.ndarray) -> None:
    view = np.ascontiguousarray(data).reshape(-1).data
    while len(view):
        view = view[os.write(file.fileno(), view) :]
