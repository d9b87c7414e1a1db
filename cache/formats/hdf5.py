"""Row groups as one HDF5 file: artifacts for those who work with h5py, MATLAB or Julia.

Layout, for reading without this code::

    clips.h5
        (512 bytes)     user block: `hearonce hdf5 size <bytes> crc32c <8 hex digits>`, of the whole file and of what
                        follows the block
        attribute       hearonce: the description as JSON, as in the Zarr format
        keys, values, offsets, side.<name>: the arrays of `cache.formats.group`, in chunks with Fletcher-32
        ids             UTF-8 strings of the length of the longest

Fletcher-32 guards the chunks and HDF5's own checksums the metadata of its 1.10 format; the user block guards the rest,
so that `verify` finds any flipped bit. Fletcher-32 of zeros is zero, and HDF5 reads past a cut file as zeros: so the
size is checked on opening, and the whole file once when a chunk reads as nothing but zeros. There are no timestamps:
the same rows give the same bytes.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from google_crc32c import extend

from cache.errors import Damage, DamageError, FalseClaim, UserError, unreadable
from cache.formats.group import RowGroup, RowGroupWriter, StoredArray, describe, layout
from cache.formats.hdf5_checks import check_arrays, description, not_ours, open_file
from cache.formats.zarr_array import ARTIFACT_SHARD_BYTES, ROWS_PER_CHUNK, ArraySpec
from cache.formats.zarr_strings import Strings, utf8
from cache.json_documents import seal, unseal
from cache.rows import RowFormat

USER_BLOCK = 512
_SLACK_BYTES = 32 << 10  # for what HDF5 keeps beside the arrays
_MAGIC = b"hearonce hdf5 size "

BROKEN = (OSError, RuntimeError, ValueError, KeyError, TypeError)
"""What h5py raises on damaged bytes."""


class Hdf5GroupWriter(RowGroupWriter):
    """Writes an HDF5 file; arguments as those of `ZarrGroupWriter`."""

    def __init__(
        self,
        file: Path,
        row_format: RowFormat,
        n: int,
        frames: int,
        attributes: Mapping[str, Any],
        ids: Strings,
    ) -> None:
        super().__init__(row_format, n, frames)
        self._path = file
        sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in self.arrays.values()]
        encoded = utf8(ids)
        longest = max(map(len, encoded), default=1) or 1
        sizes.append((n if n < ROWS_PER_CHUNK else -(-n // ROWS_PER_CHUNK) * ROWS_PER_CHUNK) * longest)
        _reserve(file, sum(sizes) + sum(sizes) // 64 + _SLACK_BYTES)
        self._file = h5py.File(file, "w", libver=("v110", "v110"), userblock_size=USER_BLOCK, track_order=False)
        self._file.attrs["hearonce"] = np.bytes_(seal(describe(row_format, n, attributes)))
        self._filled = dict.fromkeys(self.arrays, 0)
        rows = frames if row_format.ragged else n
        chunk = ArraySpec.of_values(rows, row_format.dim, row_format.storage, ARTIFACT_SHARD_BYTES).chunk_rows
        for name, (shape, dtype) in self.arrays.items():
            self._create(name, shape, dtype, chunk if name == "values" else ROWS_PER_CHUNK)
        kind = h5py.string_dtype("utf-8", longest)
        self._create("ids", (n,), kind, ROWS_PER_CHUNK)
        if n:
            self._file["ids"][...] = np.array(encoded, dtype=kind)

    def put(self, name: str, block: np.ndarray) -> None:
        """See `RowGroupWriter.put`."""
        start = self._filled[name]
        if len(block):
            with _os_errors():
                self._file[name][start : start + len(block)] = block
        self._filled[name] += len(block)

    def close(self) -> None:
        """See `RowGroupWriter.close`."""
        if self.format.ragged and not self._begun:
            self.put("offsets", np.zeros(1, "<i8"))
        for name, (shape, _) in self.arrays.items():
            if self._filled[name] != shape[0]:
                raise ValueError(f"{self._path}: {self._filled[name]} of the {shape[0]} rows of {name}")
        with _os_errors():
            self._file.close()
        block = _user_block(self._path)
        with open(self._path, "r+b") as file:
            file.write(block)

    def abandon(self) -> None:
        """See `RowGroupWriter.abandon`."""
        with suppress(*BROKEN):
            self._file.close()

    def _create(self, name: str, shape: tuple[int, ...], dtype: Any, chunk: int) -> None:
        chunks = (chunk, *shape[1:])
        if not shape[0]:
            self._file.create_dataset(name, shape, dtype, track_times=False)
            return
        self._file.create_dataset(
            name, shape, dtype, maxshape=shape, chunks=_within(chunks, shape), fletcher32=True, track_times=False
        )


def _reserve(file: Path, nbytes: int) -> None:
    """Makes sure that there is room: HDF5 may crash the process when a disk fills up while it writes.

    Raises:
        OSError: there is not.
    """
    with open(file, "wb") as empty:
        try:
            os.posix_fallocate(empty.fileno(), 0, nbytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not every file system can tell
                raise


@contextmanager
def _os_errors() -> Iterator[None]:
    """Gives errors of the operating system back their number, which h5py only mentions."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


def _within(chunks: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """HDF5 allows no chunk that is larger than an array of fixed size."""
    return tuple(min(a, b) for a, b in zip(chunks, shape, strict=True))


class Hdf5Group(RowGroup):
    """An HDF5 file of ours.

    Args:
        path: for messages.
        source: what h5py opens: a path, or a file-like object of fsspec.

    Raises:
        UserError: it is no such file, or of another version.
        DamageError: it cannot be read.
    """

    def __init__(self, path: str, source: Any) -> None:
        self.path = path
        self._source = source
        self._whole: bool | None = None
        self._name = path.rstrip("/").rsplit("/", 1)[-1]
        try:
            self._file = open_file(path, source)
            size = _size(source)
            data = description(self._file, self._name, size)
        except BROKEN as error:
            raise self._broken(error) from None
        if data is None:
            raise not_ours(path)
        if not _header(source).startswith(_MAGIC + b"%d " % size):
            raise DamageError([Damage(self._name, None, f"has {size} bytes, not as many as were written")])
        self._describe(unseal(data, self._name), "embedding cache")
        arrays: dict[str, Any] = dict(layout(self.format, len(self), 0)) | {"ids": ((len(self),), np.dtype(bytes))}
        if self.format.ragged:
            arrays["values"] = ((None, self.format.dim), self.format.storage)
        try:
            check_arrays(self._file, self._name, size, arrays)
        except BROKEN:
            pass  # `array` says of each what is lost, and `damages` of all
        except FalseClaim as error:
            if self._is_whole():
                raise
            raise DamageError(error.damages) from None

    def array(self, name: str) -> StoredArray:
        """See `RowGroup.array`."""
        try:
            return Hdf5Array(self._file[name], self._name, self._is_whole)
        except BROKEN as error:
            raise DamageError([Damage(self._name, (0, len(self)), f"has lost its array {name} ({error})")]) from None

    def ids(self) -> list[str]:
        """See `RowGroup.ids`."""
        try:
            return [str(text, "utf-8") for text in self.array("ids").read().tolist()]
        except ValueError:
            raise FalseClaim([Damage(self._name, (0, len(self)), "has ids that are no UTF-8")]) from None

    def damages(self) -> list[Damage]:
        """See `RowGroup.damages`."""
        found: list[Damage] = []
        for name in (*layout(self.format, 0, 0), "ids"):
            try:
                broken = self.array(name).damages()
                found += self.rows_of_frames(broken) if name == "values" else broken
            except DamageError as error:
                found += error.damages
        if not found and not self._is_whole():
            found.append(Damage(self._name, None, "does not match its checksum, outside of all rows"))
        if not found and self.format.ragged:
            found += self._false_offsets(self.array("offsets").read())
        return found

    def _broken(self, error: Exception) -> UserError:
        """What to say of a file that HDF5 cannot read."""
        try:
            if _is_ours(self._source):
                return DamageError([Damage(self._name, None, f"cannot be read ({error})")])
        except OSError as refused:
            return unreadable(self.path, refused)
        return not_ours(self.path)

    def _is_whole(self) -> bool:
        """Whether the file is, to the last byte, what was written; checked once."""
        if self._whole is None:
            self._whole = _header(self._source) == _user_block(self._source).ljust(USER_BLOCK, b"\0")
        return self._whole


def _is_ours(source: Any) -> bool:
    return _header(source)[:9] == _MAGIC[:9]


def _header(source: Any) -> bytes:
    if hasattr(source, "read"):
        source.seek(0)
        return source.read(USER_BLOCK)
    with open(source, "rb") as file:
        return file.read(USER_BLOCK)


def _user_block(source: Any) -> bytes:
    return _MAGIC + b"%d crc32c %08x\n" % (_size(source), _checksum(source))


def _size(source: Any) -> int:
    return int(source.seek(0, 2)) if hasattr(source, "seek") else os.path.getsize(source)


def _checksum(source: Any) -> int:
    if not hasattr(source, "read"):
        with open(source, "rb") as file:
            return _checksum(file)
    total = 0
    source.seek(USER_BLOCK)
    while block := source.read(1 << 22):
        total = extend(total, block)
    return total


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
