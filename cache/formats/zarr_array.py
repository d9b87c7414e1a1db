"""The one shape in which arrays lie on the disk: Zarr v3, sharded along the first axis, uncompressed, CRC-32C.

A shard file is a row of inner chunks of equal size, each followed by its CRC-32C, then the index that the Zarr
specification asks for (offset and length of each chunk) and the CRC-32C of the index. So the place of every row
follows from its number, in any library's view of it as in ours.

Why these numbers (1,000,000 x 512 float16, see benchmarks/cache): an inner chunk is what one random row costs to
read and to check, and plain zarr spends 50 to 100 us on each. 32 KiB reads 10,000 random rows 1.6 times as fast as
128 KiB, a third slower than 16 KiB, and plain zarr reads it all in half the time that 16 KiB takes. Shards of 32
MiB in artifacts are what DVC uploads again when rows are added; segments are not DVC's, and shards of 256 MiB save
fsyncs. Nothing is compressed: lossless codecs gain 6 to 10 % on embeddings and their bytes change between versions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google_crc32c import value as crc32c

from cache.json_documents import canonical_json

VALUE_CHUNK_BYTES = 32 << 10
ROWS_PER_CHUNK = 1 << 12
ROWS_PER_SHARD = 1 << 18
ARTIFACT_SHARD_BYTES = 32 << 20
SEGMENT_SHARD_BYTES = 256 << 20
CHECKSUM_BYTES = 4
MOST_ROWS = 1 << 40
_CHECKED = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]

_BUFFER_BYTES = 4 << 20


@dataclass(frozen=True)
class ArraySpec:
    """One array.

    Attributes:
        shape: (n,) or (n, width).
        dtype: little-endian numpy type.
        chunk_rows: rows of an inner chunk.
        shard_rows: rows of a shard, a multiple of chunk_rows.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    chunk_rows: int = ROWS_PER_CHUNK
    shard_rows: int = ROWS_PER_SHARD

    @classmethod
    def of_values(cls, n: int, dim: int, dtype: np.dtype, shard_bytes: int) -> ArraySpec:
        """The array of the values themselves, with chunks and shards of the sizes explained above."""
        row_bytes = dim * dtype.itemsize
        chunk = _power_of_two(VALUE_CHUNK_BYTES // row_bytes)
        return cls((n, dim), dtype, chunk, chunk * _power_of_two(shard_bytes // (chunk * row_bytes)))

    def fitted(self) -> ArraySpec:
        """The same array with chunk and shard no larger than it is, for segments, which may hold few rows."""
        chunk = max(1, min(self.chunk_rows, self.shape[0]))
        shard = max(chunk, min(self.shard_rows, -(-self.shape[0] // chunk) * chunk))
        return replace(self, chunk_rows=chunk, shard_rows=shard // chunk * chunk)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def stride(self) -> int:
        """Bytes from one inner chunk to the next."""
        return self.chunk_rows * self.row_bytes + CHECKSUM_BYTES

    @property
    def n_shards(self) -> int:
        """Number of shard files."""
        return -(-self.shape[0] // self.shard_rows)

    def shard_name(self, shard: int) -> str:
        """File of a shard, beside the array's zarr.json."""
        return ".".join(["c", str(shard)] + ["0"] * (len(self.shape) - 1))

    def n_chunks(self, shard: int) -> int:
        """Inner chunks that a shard holds; the last one of the array may be padded with zeros."""
        rows = min(self.shard_rows, self.shape[0] - shard * self.shard_rows)
        return -(-rows // self.chunk_rows)

    def index(self, shard: int) -> np.ndarray:
        """The shard's index: uint64 (chunks of a full shard, 2), offset and length, all ones where there is none."""
        index = np.full((self.shard_rows // self.chunk_rows, 2), np.iinfo(np.uint64).max, "<u8")
        n = self.n_chunks(shard)
        index[:n, 0] = np.arange(n, dtype=np.uint64) * np.uint64(self.stride)
        index[:n, 1] = self.stride
        return index

    def shard_bytes(self, shard: int) -> int:
        """Length of a shard file."""
        return self.n_chunks(shard) * self.stride + self.shard_rows // self.chunk_rows * 16 + CHECKSUM_BYTES

    def document(self) -> dict[str, Any]:
        """The array's metadata as the Zarr v3 specification has it."""
        width = list(self.shape[1:])
        codecs = _CHECKED if self.dtype.itemsize > 1 else [{"name": "bytes"}, {"name": "crc32c"}]
        sharding = {
            "chunk_shape": [self.chunk_rows, *width],
            "codecs": codecs,
            "index_codecs": _CHECKED,
            "index_location": "end",
        }
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [self.shard_rows, *width]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": 0.0 if self.dtype.kind == "f" else 0,
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "attributes": {},
            "storage_transformers": [],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ArraySpec | None:
        """The array that the metadata describe, None if it is not of this one shape (another program made it)."""
        try:
            sharding = document["codecs"][0]["configuration"]
            if not isinstance(document["data_type"], str):
                return None
            sizes = [*document["shape"], *sharding["chunk_shape"]]
            sizes += document["chunk_grid"]["configuration"]["chunk_shape"]
            if not all(type(size) is int and 0 <= size <= MOST_ROWS for size in sizes):  # 4096.0 and True equal numbers
                return None
            spec = cls(
                tuple(document["shape"]),
                np.dtype(document["data_type"]).newbyteorder("<"),
                sharding["chunk_shape"][0],
                document["chunk_grid"]["configuration"]["chunk_shape"][0],
            )
            whole = 0 < spec.chunk_rows <= spec.shard_rows and spec.shard_rows % spec.chunk_rows == 0
            return spec if whole and spec.document() == document else None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return None


def _power_of_two(n: int) -> int:
    """The largest power of two up to n, at least 1, so that shards are whole numbers of chunks."""
    return 1 << max(0, n.bit_length() - 1)


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
        (folder / "zarr.json").write_bytes(canonical_json(spec.document()))
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
