"""Reads an array that another program wrote in a shape of its own, through zarr-python."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import Damage, DamageError, FalseClaim, unreadable
from cache.formats.zarr_array import MOST_ROWS
from cache.formats.zarr_reader import Visit
from cache.json_documents import parse_json
from cache.location import LocalLocation, Location

MOST_CHUNK_BYTES = 256 << 20
MOST_RATIO = 1000
"""Values take no less than a thousandth of their size on the disk: rows of an encoder lose 10 % at best."""

_FREE_BYTES = 1 << 20
_CODECS = ("bytes", "crc32c", "transpose", "vlen-utf8", "zstd", "blosc", "sharding_indexed")
_IN_SHARDS = ("bytes", "crc32c")
_ZSTD = b"\x28\xb5\x2f\xfd"

Shape = tuple[int | None, ...]

_ROWS = 1 << 12


def check_array(location: Location, name: str, shape: Shape, dtype: np.dtype) -> None:
    """Refuses an array that is not what its group says, or that claims more than its files hold.

    Args:
        location: the array's folder.
        name: of the array, for messages.
        shape: that it must have; None where any length will do.
        dtype: that it must have.

    Raises:
        FalseClaim: it is not so.
        FileNotFoundError: there is no such array.
    """

    def refuse(reason: str) -> FalseClaim:
        return FalseClaim([Damage(name, None, reason)])

    found = parse_json(location.read("zarr.json"), f"{name}/zarr.json")
    try:
        claimed, chunk = found["shape"], found["chunk_grid"]["configuration"]["chunk_shape"]
        regular = found["chunk_grid"]["name"] == "regular" and found["chunk_key_encoding"]["name"] in ("default", "v2")
        codecs = [(codec["name"], codec.get("configuration") or {}) for codec in found["codecs"]]
        kind = found["data_type"]
        plain = regular and (found["zarr_format"], found["node_type"]) == (3, "array")
        plain = plain and not found.get("storage_transformers")
    except (KeyError, TypeError, AttributeError):
        raise refuse("has metadata of no array of Zarr 3") from None
    if not plain or not _whole(claimed, 0) or not _whole(chunk, 1) or len(chunk) != len(claimed):
        raise refuse("has metadata of no plain array of Zarr 3")
    if len(claimed) != len(shape) or any(a not in (b, None) for a, b in zip(shape, claimed, strict=True)):
        raise refuse(f"claims the shape {tuple(claimed)}, which is not that of its description")
    text = dtype.kind == "U"
    if kind != ("string" if text else dtype.name):
        raise refuse(f"claims numbers of type {str(kind)[:80]}, which is not {'text' if text else dtype.name}")
    item = 1 if text else dtype.itemsize
    if math.prod(chunk) * item > MOST_CHUNK_BYTES:
        raise refuse(f"has chunks of {math.prod(chunk) * item:,} bytes")
    names = [codec for codec, _ in codecs]
    if not all(map(_known, codecs)) or names.count("sharding_indexed") > 1 or len(set(names)) != len(names):
        raise refuse(f"needs codecs that are not read ({', '.join(str(codec)[:40] for codec in names)})")
    if not isinstance(location, LocalLocation):
        return
    sizes = [_size(file, names, math.prod(chunk) * item, text, refuse) for file in _files(location, refuse)]
    n_chunks = math.prod(-(-length // step) for length, step in zip(claimed, chunk, strict=True))
    if not name.startswith("side.") and len(sizes) < n_chunks:
        raise refuse(f"claims {n_chunks:,} chunks, of which {len(sizes):,} are there")
    if math.prod(claimed) * item > _FREE_BYTES + MOST_RATIO * sum(sizes):
        raise refuse(f"claims {math.prod(claimed) * item:,} bytes, and has files of {sum(sizes):,}")


def _whole(numbers: Any, least: int) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and least <= number <= MOST_ROWS for number in numbers)


def _known(codec: tuple[str, Any]) -> bool:
    name, options = codec
    if name not in _CODECS or not isinstance(options, dict):
        return False
    if name != "sharding_indexed":
        return True
    try:
        inner = [codec["name"] for key in ("codecs", "index_codecs") for codec in options[key]]
        return _whole(options["chunk_shape"], 1) and all(codec in _IN_SHARDS for codec in inner)
    except (KeyError, TypeError):
        return False


def _files(location: LocalLocation, refuse: Any) -> Iterator[Path]:
    """Chunk files; anything that is no plain file, or that leads out of the folder, is refused."""
    for folder, folders, files in os.walk(location.path, onerror=_raise):
        for name in (*folders, *files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise refuse(f"has {path.relative_to(location.path)}, which is no plain file")
        yield from (Path(folder, name) for name in files if name != "zarr.json" and not name.startswith("."))


def _raise(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        raise error
    raise unreadable(error.filename, error)


def _size(file: Path, codecs: list[str], chunk_bytes: int, text: bool, refuse: Any) -> int:
    """Bytes of a chunk's file, once it is known how many it becomes."""
    size = file.stat().st_size
    with open(file, "rb") as opened:
        head = opened.read(32)
        limit = 64 << 20 if text else chunk_bytes + 4
        if "zstd" in codecs:
            becomes = _zstd_bytes(head)
        elif "blosc" in codecs:
            becomes = int.from_bytes(head[4:8], "little") if len(head) >= 16 else None
        else:
            becomes = None if text or "sharding_indexed" in codecs else size
            limit = max(limit, chunk_bytes + 4)
        compressed = "zstd" in codecs or "blosc" in codecs
        if (compressed and becomes is None) or (becomes is not None and becomes > limit):
            raise refuse(f"has a chunk {file.name} of {becomes} bytes, and not the {limit} of its metadata")
        if text and size < 64 << 20:
            first = _first_bytes(head + opened.read(), codecs)
            if first is None or int.from_bytes(first, "little") > chunk_bytes:
                raise refuse(f"has a chunk {file.name} that is no text")
    return size


def _zstd_bytes(head: bytes) -> int | None:
    """The size that a zstd frame says it has when it is unpacked (RFC 8878, 3.1.1.1)."""
    if not head.startswith(_ZSTD) or len(head) < 6:
        return None
    flag, single, dictionary = head[4] >> 6, head[4] >> 5 & 1, (0, 1, 2, 4)[head[4] & 3]
    n = (single, 2, 4, 8)[flag]
    if not n:
        return None
    at = 5 + (1 - single) + dictionary
    return int.from_bytes(head[at : at + n], "little") + (256 if n == 2 else 0)


def _first_bytes(data: bytes, codecs: list[str]) -> bytes | None:
    """The number of strings of a chunk."""
    if "zstd" in codecs:
        from numcodecs import zstd  # type: ignore[import-untyped]

        try:
            data = bytes(zstd.decompress(data))
        except (RuntimeError, ValueError, MemoryError):
            return b"\0" * 4  # reading it says that it is damaged
    return data[:4] if len(data) >= 4 and "blosc" not in codecs else None


class PlainArray:
    """What `ShardedArray` does, for such an array.

    Args and raises are those of `check_array`; also:

    Raises:
        DamageError: it cannot be opened.
    """

    def __init__(self, location: Location, name: str, shape: Shape, dtype: np.dtype) -> None:
        check_array(location, name, shape, dtype)
        import zarr

        self._name = name
        where = location.path if isinstance(location, LocalLocation) else str(location)
        try:
            self._array = zarr.open_array(where, mode="r")
        except Exception as error:  # of many kinds
            raise DamageError([Damage(name, None, f"cannot be opened ({error})")]) from None
        self.shape: tuple[int, ...] = self._array.shape
        self.dtype = np.dtype(self._array.dtype).newbyteorder("<")

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop."""
        stop = len(self) if stop is None else stop
        try:
            return np.asarray(self._array[start:stop])
        except Exception as error:  # zarr-python and its codecs raise many kinds
            raise DamageError([Damage(self._name, (start, stop), f"cannot be read ({error})")]) from None

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows by number, in the order asked for."""
        try:
            return np.asarray(self._array.oindex[np.asarray(rows, np.int64)])
        except Exception as error:
            reach = (int(np.min(rows)), int(np.max(rows)) + 1)
            raise DamageError([Damage(self._name, reach, f"cannot be read ({error})")]) from None

    def damages(self, visit: Visit | None = None) -> list[Damage]:
        """Reads everything; what fails is named in blocks, and `visit` gets what does not."""
        found: list[Damage] = []
        for start in range(0, len(self), _ROWS):
            try:
                rows = self.read(start, min(len(self), start + _ROWS))
                if visit is not None:
                    visit(start, rows)
            except DamageError as error:
                found += error.damages
        return found
