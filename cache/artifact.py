"""Level two: the rows of one corpus, encoder and modality in table order, as one deterministic Zarr v3 group.

Layout, for reading without this code::

    clips.zarr/
        zarr.json   attributes: hearonce = {schema, modality, encoder, fingerprint}
        values      float32 (n, dim), chunks of about 1 MiB with CRC-32C inside shards of about 32 MiB
        ids         string (n,), clip_id or caption_id, chunks of 65,536 with CRC-32C
        keys        uint8 (n, 16), row keys

The same rows give the same bytes on every machine: nothing in here knows a date, a host or a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec

from cache import keys as row_keys
from cache.durable import new_directory
from cache.errors import UserError
from cache.row_store import RowStore

SCHEMA_VERSION = 1
CHUNK_BYTES = 1 << 20
KEY_CHUNK_BYTES = 1 << 16
SHARD_BYTES = 32 << 20
IDS_PER_CHUNK = 1 << 16


class Artifact:
    """A finished embedding cache, opened lazily.

    Attributes:
        values: zarr array, float32 (n, dim); read by slicing.
        description: modality, encoder, fingerprint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            group = zarr.open_group(path, mode="r")
        except FileNotFoundError:
            raise UserError(f"{path} is missing: run `dvc repro`, or `dvc pull` if a colleague has made it.") from None
        description = group.attrs.get("hearonce")
        if not isinstance(description, dict):
            raise UserError(f"{path} is no embedding cache of hearonce.")
        if int(description["schema"]) > SCHEMA_VERSION:
            raise UserError(f"{path} has version {description['schema']}, this hearonce reads up to {SCHEMA_VERSION}.")
        self.description: dict[str, Any] = description
        self._group = group
        self.values: Any = group["values"]

    @property
    def ids(self) -> list[str]:
        """Clip or caption id of each row."""
        return [str(one) for one in np.asarray(self._group["ids"][...]).tolist()]  # type: ignore[index]

    @property
    def keys(self) -> np.ndarray:
        """Row key of each row, uint8 (n, 16)."""
        return np.asarray(self._group["keys"][...])  # type: ignore[index]

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def numpy(self) -> np.ndarray:
        """All rows, float32 (n, dim).

        Raises:
            UserError: a chunk does not match its checksum.
        """
        try:
            return np.asarray(self.values[...])
        except (ValueError, OSError, RuntimeError) as error:
            raise UserError(f"{self.path} is damaged ({error}): delete it and run `dvc repro`.") from None


def _rows_of(n_bytes: int, row_bytes: int) -> int:
    """Rows that fill about n_bytes, a power of two so that shards are whole numbers of chunks."""
    return 1 << max(0, (n_bytes // max(1, row_bytes)).bit_length() - 1)


def write_artifact(
    path: Path, ids: Sequence[str], keys: Sequence[bytes], rows: RowStore, description: Mapping[str, Any]
) -> None:
    """Writes the rows of `keys` in order, whole or not at all.

    Args:
        path: folder to make; what stood there is replaced, never written into.
        ids: clip or caption id of each row.
        keys: row key of each row; all present in `rows`.
        rows: where the values come from.
        description: modality, encoder and fingerprint; nothing that differs between machines.
    """
    with new_directory(path) as folder:
        attributes = {"hearonce": {"schema": SCHEMA_VERSION, **description}}
        group = zarr.create_group(folder, attributes=attributes)
        values = _create(group, "values", (len(ids), rows.dim), "float32", CHUNK_BYTES)
        packed = _create(group, "keys", (len(ids), row_keys.KEY_BYTES), "uint8", KEY_CHUNK_BYTES)
        names = group.create_array(
            "ids", shape=(len(ids),), dtype=str, chunks=(IDS_PER_CHUNK,), compressors=[Crc32cCodec()]
        )
        if ids:
            names[...] = np.array(ids, dtype=object)
            packed[...] = row_keys.pack(keys)
        step = values.shards[0]
        for start in range(0, len(ids), step):
            values[start : start + step] = rows.read(keys[start : start + step])


def _create(group: zarr.Group, name: str, shape: tuple[int, int], dtype: str, chunk_bytes: int) -> Any:
    row_bytes = shape[1] * np.dtype(dtype).itemsize
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(_rows_of(chunk_bytes, row_bytes), shape[1]),
        shards=(_rows_of(SHARD_BYTES, row_bytes), shape[1]),
        serializer=BytesCodec(),
        compressors=[Crc32cCodec()],
        fill_value=0,
    )
