"""Level one: every embedding ever computed by one tower, in immutable segments, addressed by row key.

Layout, for reading without this code::

    <store>/rows/<modality>-<fingerprint>/
        store.json                     schema version, modality, fingerprint, dim, what the fingerprint was made of
        segments/<time>-<random>.zarr/ a Zarr v3 group: keys uint8 (n, 16), values float32 (n, dim), both with CRC-32C

A segment appears by a rename once all its bytes are on the disk, and is never written again. Nobody locks: each
writer makes segments of its own, and a key that two writers computed reads as one row.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec

from cache import keys as row_keys
from cache.durable import new_directory, new_file
from cache.errors import UserError

SCHEMA_VERSION = 1
CHUNK_BYTES = 1 << 20


def write_array(group: zarr.Group, name: str, values: np.ndarray) -> None:
    """Writes one array whose every chunk carries a CRC-32C."""
    row_bytes = max(1, values.dtype.itemsize * int(np.prod(values.shape[1:])))
    rows = max(1, min(len(values), CHUNK_BYTES // row_bytes))
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(rows, *values.shape[1:]),
        serializer=BytesCodec(),
        compressors=[Crc32cCodec()],
        fill_value=0,
    )
    array[...] = values


class RowStore:
    """The rows of one modality and fingerprint.

    Args:
        root: folder of the row stores (`Store.rows`).
        modality: `clips` or `captions`.
        fingerprint: of the tower, 32 hex digits.
        dim: length of a row.
        identity: what the fingerprint was made of, written down for people.

    Raises:
        UserError: the folder holds rows of another length or of a newer version.
    """

    def __init__(
        self, root: Path, modality: str, fingerprint: str, dim: int, identity: Mapping[str, Any] | None = None
    ) -> None:
        self.path = root / f"{modality}-{fingerprint}"
        self.dim = dim
        self._segments = self.path / "segments"
        self._segments.mkdir(parents=True, exist_ok=True)
        self._describe(modality, fingerprint, identity or {})
        self.refresh()

    def _describe(self, modality: str, fingerprint: str, identity: Mapping[str, Any]) -> None:
        path = self.path / "store.json"
        if not path.exists():
            description = {
                "schema": SCHEMA_VERSION,
                "modality": modality,
                "fingerprint": fingerprint,
                "dim": self.dim,
                "identity": dict(identity),
            }
            with new_file(path) as temporary:
                temporary.write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")
            return
        found = json.loads(path.read_text())
        if found["schema"] > SCHEMA_VERSION:
            raise UserError(f"{path} has version {found['schema']}, this hearonce reads up to {SCHEMA_VERSION}.")
        if found["dim"] != self.dim:
            raise UserError(f"{path} holds rows of length {found['dim']}, the encoder makes {self.dim}.")

    def refresh(self) -> None:
        """Looks again which segments are committed (other writers may have added some)."""
        self._names = sorted(path.name for path in self._segments.glob("*.zarr"))
        parts = [np.asarray(zarr.open_array(self._segments / name / "keys", mode="r")[...]) for name in self._names]
        counts = np.array([len(part) for part in parts], dtype=np.int64)
        joined = np.concatenate(parts) if parts else np.zeros((0, row_keys.KEY_BYTES), np.uint8)
        self._keys = np.ascontiguousarray(joined).view(">u8").astype(np.uint64)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        # Stable: of a key written twice, the oldest segment's row comes first and is the one that is read.
        self._order = np.lexsort((self._keys[:, 1], self._keys[:, 0]))
        self._sorted_high = self._keys[self._order, 0]

    def __len__(self) -> int:
        """Number of rows, a key written twice counted twice."""
        return len(self._keys)

    def _find(self, keys: Sequence[bytes]) -> np.ndarray:
        """Position of each key among all rows, -1 where it is missing."""
        wanted = row_keys.pack(keys).view(">u8").astype(np.uint64).reshape(-1, 2)
        if not len(self._order):
            return np.full(len(wanted), -1, np.int64)
        left = np.searchsorted(self._sorted_high, wanted[:, 0], side="left")
        right = np.searchsorted(self._sorted_high, wanted[:, 0], side="right")
        candidate = self._order[np.minimum(left, len(self._order) - 1)]
        hit = (left < right) & (self._keys[candidate] == wanted).all(axis=1)
        found = np.where(hit, candidate, -1)
        for i in np.flatnonzero(~hit & (left < right)):  # two keys that share their first 64 bits
            run = self._order[left[i] : right[i]]
            match = run[self._keys[run, 1] == wanted[i, 1]]
            found[i] = match[0] if len(match) else -1
        return found

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """The keys that have no row yet, each once, in the order given."""
        absent = self._find(keys) < 0
        return list(dict.fromkeys(key for key, gone in zip(keys, absent, strict=True) if gone))

    def read(self, keys: Sequence[bytes]) -> np.ndarray:
        """Rows in the order of the keys: float32 (len(keys), dim).

        Raises:
            KeyError: a key has no row.
            UserError: a segment is damaged.
        """
        position = self._find(keys)
        if (position < 0).any():
            raise KeyError(f"{self.path} lacks {int((position < 0).sum())} of {len(keys)} rows")
        rows = np.empty((len(keys), self.dim), np.float32)
        segment = np.searchsorted(self._first, position, side="right") - 1
        for index in np.unique(segment):
            here = np.flatnonzero(segment == index)
            path = self._segments / self._names[index]
            try:
                values = zarr.open_array(path / "values", mode="r")
                rows[here] = values.oindex[position[here] - self._first[index]]
            except (ValueError, OSError, RuntimeError) as error:
                raise UserError(
                    f"{path} is damaged ({error}): delete this segment and run the stage again; only its "
                    f"{self._first[index + 1] - self._first[index]} rows are embedded anew."
                ) from None
        return rows

    def append(self, keys: Sequence[bytes], values: np.ndarray, provenance: Mapping[str, Any] | None = None) -> None:
        """Commits a batch: when this returns, the rows are on the disk and visible to everybody.

        Args:
            keys: one per row, distinct.
            values: (len(keys), dim), finite.
            provenance: library versions, device, ... written beside the rows.

        Raises:
            ValueError: shape, duplicate keys or a value that is not finite; nothing is written.
        """
        values = np.ascontiguousarray(values, np.float32)
        if values.shape != (len(keys), self.dim):
            raise ValueError(f"{self.path}: values of shape {values.shape}, expected {(len(keys), self.dim)}")
        if len(set(keys)) != len(keys):
            raise ValueError(f"{self.path}: the same key twice in one batch")
        if not np.isfinite(values).all():
            raise ValueError(f"{self.path}: row {int(np.argmin(np.isfinite(values).all(1)))} is not finite")
        if not len(keys):
            return
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.zarr"
        with new_directory(self._segments / name, scratch=self.path / "scratch") as folder:
            group = zarr.create_group(folder, attributes={"hearonce": dict(provenance or {})})
            write_array(group, "keys", row_keys.pack(keys))
            write_array(group, "values", values)
        self.refresh()
