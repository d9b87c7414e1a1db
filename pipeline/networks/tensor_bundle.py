"""Reader of TensorFlow's tensor bundle, the format of a SavedModel's ``variables`` folder.

A bundle is an index and data shards. The index is a table in LevelDB's format: blocks of
prefix-compressed entries, found through an index block that the 48-byte footer points at. Its
values are ``BundleEntryProto`` messages (``tensorflow/core/protobuf/tensor_bundle.proto``): dtype,
shape, shard, offset and size. Only what a float model needs is read: one little-endian shard,
uncompressed blocks, unsliced tensors of fixed-size types. Checksums are not looked at: the caller
pins the SHA-256 of both files.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.checkpoints.wheels import WeightsError

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
BLOCK_TRAILER_BYTES = 5  # compression type (1) and masked crc32c (4)
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 10: "|b1"}  # of tensorflow/core/framework/types.proto
STRING = 7


def read_bundle(index: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """All numeric tensors of a bundle.

    Args:
        index: path of ``variables.index``; its data shard lies beside it.
        prefix: only tensors whose name starts with it; it is cut off the returned names.

    Raises:
        WeightsError: a file is missing, cut short, not a bundle, or of an unsupported kind.
    """
    data_path = index.with_name(f"{index.stem}.data-00000-of-00001")
    try:
        table, data = index.read_bytes(), data_path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read tensor bundle: {error.filename}: {error.strerror}") from error
    tensors: dict[str, np.ndarray] = {}
    try:
        entries = list(_table_entries(table))
        if not entries or entries[0][0] != b"":
            raise ValueError("it has no bundle header")
        _check_header(dict(_fields(entries[0][1])))
        for key, value in entries[1:]:
            name = key.decode("utf-8")
            if name.startswith(prefix):
                tensor = _tensor(value, data, name, data_path)
                if tensor is not None:
                    tensors[name[len(prefix) :]] = tensor
    except (ValueError, IndexError, struct.error) as error:
        raise WeightsError(f"{index} is not a readable tensor bundle: {error}") from error
    return tensors


def _table_entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every entry of a LevelDB table, in key order."""
    if len(table) < FOOTER_BYTES:
        raise ValueError(f"it has {len(table)} bytes, less than a table's footer")
    footer = table[-FOOTER_BYTES:]
    (magic,) = struct.unpack("<Q", footer[-8:])
    if magic != MAGIC:
        raise ValueError(f"magic number {magic:#x} instead of {MAGIC:#x}")
    position = 0
    for _ in range(2):  # skip the meta index's offset and size
        _, position = _varint(footer, position)
    for _, handle in _block_entries(_block(table, footer, position)):
        yield from _block_entries(_block(table, handle, 0))


def _block(table: bytes, handle: bytes, position: int) -> bytes:
    """Content of the block that a handle (offset, size) points at."""
    offset, position = _varint(handle, position)
    size, _ = _varint(handle, position)
    if offset + size + BLOCK_TRAILER_BYTES > len(table):
        raise ValueError(f"block at {offset} of {size} bytes lies outside the file")
    if table[offset + size] != 0:
        raise ValueError(f"block at {offset} is compressed (type {table[offset + size]})")
    return table[offset : offset + size]


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every entry of one block."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise ValueError("a block is shorter than its restart array")
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        size, position = _varint(block, position)
        if shared > len(key) or position + unshared + size > end:
            raise ValueError("an entry reaches outside its block")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + size]
        position += size


def _check_header(header: dict[int, int | bytes]) -> None:
    """Refuse what BundleHeaderProto (1 num_shards, 2 endianness) says is not one little-endian shard."""
    shards = _integer(header.get(1, 0))
    if shards != 1:
        raise ValueError(f"it has {shards} data shards, only one is supported")
    if header.get(2, 0) != 0:
        raise ValueError("it is big-endian")


def _tensor(entry: bytes, data: bytes, name: str, data_path: Path) -> np.ndarray | None:
    """Tensor of a BundleEntryProto (1 dtype, 2 shape, 3 shard, 4 offset, 5 size, 7 slices), None for strings."""
    fields = list(_fields(entry))
    values = dict(fields)
    dtype = _integer(values.get(1, 0))
    if dtype == STRING:
        return None
    if dtype not in DTYPES:
        raise ValueError(f"tensor {name!r} has the unsupported dtype {dtype}")
    if 7 in values:
        raise ValueError(f"tensor {name!r} is stored in slices")
    shape = tuple(_shape(_bytes(values.get(2, b""))))
    offset, size = _integer(values.get(4, 0)), _integer(values.get(5, 0))
    expected = int(np.prod(shape, dtype=np.int64)) * np.dtype(DTYPES[dtype]).itemsize
    if size != expected:
        raise ValueError(f"tensor {name!r} of shape {shape} has {size} bytes instead of {expected}")
    if offset + size > len(data):
        raise ValueError(f"{data_path.name} is cut short: tensor {name!r} ends at {offset + size} of {len(data)} bytes")
    return np.frombuffer(
        data, DTYPES[dtype], count=expected // np.dtype(DTYPES[dtype]).itemsize, offset=offset
    ).reshape(shape)


def _shape(message: bytes) -> Iterator[int]:
    """Sizes of a TensorShapeProto (2 dim: 1 size)."""
    for number, value in _fields(message):
        if number == 2:
            yield _integer(dict(_fields(_bytes(value))).get(1, 0))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field number and value of every field of a protobuf message, in order."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == 2:
            size, position = _varint(message, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"protobuf wire type {kind}")
        if position + size > len(message):
            raise ValueError("a protobuf field reaches outside its message")
        yield number, message[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Value of the variable-length integer at a position, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a variable-length integer is too long")


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a protobuf integer is stored as bytes")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a protobuf message is stored as an integer")
    return value
