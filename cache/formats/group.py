"""A finished set of rows on the disk, a segment or an artifact, in whichever format: what all of them can do.

It is a handful of named arrays: `keys` uint8 (n, 16), `values`, for ragged rows `offsets` int64 (n + 1,), one
`side.<name>` per extra value, and in artifacts `ids`; with one description beside them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from cache.errors import Damage, DamageError, FalseClaim, UserError
from cache.formats.zarr_array import MOST_ROWS
from cache.json_documents import CHECKSUM
from cache.keys import KEY_BYTES
from cache.rows import RowFormat, Rows, frames_of

SCHEMA_VERSION = 2

BLOCK_BYTES = 32 << 20


class StoredArray(Protocol):
    """One array on the disk."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop."""

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows by number, in the order asked for."""

    def damages(self) -> list[Damage]:
        """Reads everything and lists what does not match its checksum."""


def layout(row_format: RowFormat, n: int, frames: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Name -> shape and type of each array of n rows (of `frames` frames together, when ragged)."""
    arrays: dict[str, tuple[tuple[int, ...], np.dtype]] = {
        "keys": ((n, KEY_BYTES), np.dtype(np.uint8)),
        "values": ((frames if row_format.ragged else n, row_format.dim), row_format.storage),
    }
    if row_format.ragged:
        arrays["offsets"] = ((n + 1,), np.dtype("<i8"))
    for name, kind in row_format.extra.items():
        arrays[f"side.{name}"] = ((n,), np.dtype(kind).newbyteorder("<"))
    return arrays


def rows_per_block(row_format: RowFormat, n: int, frames: int) -> int:
    """Rows that are read and written at a time: about 32 MiB, a power of two so that blocks end where chunks do."""
    mean = max(1.0, frames / max(1, n))
    return 1 << max(0, int(BLOCK_BYTES / (mean * row_format.row_bytes)).bit_length() - 1)


def describe(row_format: RowFormat, n: int, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The description as it is written: version, format, number of rows, what the caller adds, checksum to fill in."""
    own = {"schema": SCHEMA_VERSION, "format": row_format.to_json(), "rows": n, CHECKSUM: "00000000"}
    return {**attributes, **own}


def check_schema(found: Any, path: object, kind: str) -> None:
    """Refuses what is no description of ours, or one of another version."""
    if not isinstance(found, dict) or not isinstance(found.get("schema"), int):
        raise UserError(f"{path} is no {kind} of hearonce.")
    if found["schema"] > SCHEMA_VERSION:
        raise UserError(
            f"{path} has version {found['schema']}, this hearonce reads up to {SCHEMA_VERSION}: update hearonce."
        )
    if found["schema"] < SCHEMA_VERSION:
        raise UserError(f"{path} was made by an early hearonce (version {found['schema']}): delete it and run again.")


class RowGroup(ABC):
    """A set of rows, opened lazily.

    Attributes:
        path: where it lies, for messages.
        description: its attributes, without format and checksum.
        format: of the rows.
    """

    path: str
    description: dict[str, Any]
    format: RowFormat
    lenient = False
    """Whether the group is read for repair: then `take` touches no more of keys and offsets than the rows it takes."""
    _n: int

    def _describe(self, found: Any, kind: str) -> None:
        check_schema(found, self.path, kind)
        own = ("schema", "format", "rows", CHECKSUM)
        self.description = {name: value for name, value in found.items() if name not in own}
        if not isinstance(found.get("format"), dict) or type(found.get("rows")) is not int:
            raise FalseClaim([Damage("its description", None, "does not say which rows it is of, or how many")])
        if not 0 <= found["rows"] <= MOST_ROWS:
            raise FalseClaim([Damage("its description", None, "claims a number of rows that no store has")])
        if not isinstance(found.get("provenance", {}), dict):
            raise FalseClaim([Damage("its description", None, "has a provenance that is no JSON object")])
        try:
            self.format = RowFormat.from_json(found["format"])
        except UserError as error:
            raise FalseClaim([Damage("its description", None, f"has no row format ({error})")]) from None
        self._n = found["rows"]

    def __len__(self) -> int:
        return self._n

    @abstractmethod
    def array(self, name: str) -> StoredArray:
        """One of the arrays of `layout`."""

    @abstractmethod
    def ids(self) -> list[str]:
        """Clip or caption id of each row of an artifact."""

    @abstractmethod
    def damages(self) -> list[Damage]:
        """Reads everything and lists all damaged places; `rows` are rows of this group."""

    @cached_property
    def keys(self) -> np.ndarray:
        """Row keys, uint8 (n, 16)."""
        return self.array("keys").read()

    @cached_property
    def offsets(self) -> np.ndarray | None:
        """Where each ragged row begins in `values`, int64 (n + 1,); None for rows of one length."""
        if not self.format.ragged:
            return None
        offsets = self.array("offsets").read()
        if damages := self._false_offsets(offsets):
            raise FalseClaim(damages)
        return offsets

    def _false_offsets(self, offsets: np.ndarray) -> list[Damage]:
        """What says that offsets, whose checksum fits, do not cut `values` into rows."""
        frames = self.array("values").shape[0]
        ends = (int(offsets[0]), int(offsets[-1])) == (0, frames)
        if ends and (np.diff(offsets) >= 0).all():
            return []
        return [Damage("offsets", (0, len(self)), f"do not cut the {frames} frames of `values` into rows")]

    def claimed(self, frames: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """The arrays that a group of so many rows and frames must have: name -> shape and type."""
        return layout(self.format, len(self), frames)

    def rows(self, start: int = 0, stop: int | None = None) -> Rows:
        """Rows start to stop."""
        stop = len(self) if stop is None else min(stop, len(self))
        start = min(start, stop)
        offsets, first, last = None, start, stop
        if self.offsets is not None:
            first, last = int(self.offsets[start]), int(self.offsets[stop])
            offsets = self.offsets[start : stop + 1] - first
        extra = {name: self.array(f"side.{name}").read(start, stop) for name in self.format.extra}
        return Rows(self.format, self.keys[start:stop], self.array("values").read(first, last), offsets, extra)

    def frames(self, index: np.ndarray) -> int:
        """Frames of these rows together; their number when rows are not ragged."""
        if not self.format.ragged:
            return len(index)
        return int((self._some("offsets", index + 1) - self._some("offsets", index)).sum())

    def take(self, index: np.ndarray) -> Rows:
        """Rows by number, in the order asked for."""
        index = np.asarray(index, np.int64)
        offsets, frames = None, index
        if self.format.ragged:
            offsets, frames = frames_of(self._some("offsets", index), self._some("offsets", index + 1))
        extra = {name: self.array(f"side.{name}").take(index) for name in self.format.extra}
        return Rows(self.format, self._some("keys", index), self.array("values").take(frames), offsets, extra)

    def _some(self, name: str, index: np.ndarray) -> np.ndarray:
        return self.array(name).take(index) if self.lenient else getattr(self, name)[index]

    def rows_of_frames(self, damages: Sequence[Damage]) -> list[Damage]:
        """Damaged frames of `values` of ragged rows as the rows they belong to: all, if the offsets are damaged too."""
        if not self.format.ragged or not damages:
            return list(damages)
        found = []
        try:
            offsets = self.array("offsets").read()
        except (DamageError, FileNotFoundError):
            return [Damage(damage.file, damage.rows and (0, len(self)), damage.reason) for damage in damages]
        for damage in damages:
            rows = damage.rows
            if rows is not None:
                first = int(np.searchsorted(offsets[1:], rows[0], side="right"))
                rows = (first, int(np.searchsorted(offsets[:-1], rows[1], side="left")))
            found.append(Damage(damage.file, rows, damage.reason))
        return found


class RowGroupWriter(ABC):
    """Writes a row group from its first to its last row, in whichever format, with bounded memory.

    Args:
        row_format: of the rows.
        n: rows it will have.
        frames: frames of all rows together; n when the rows are not ragged.
    """

    def __init__(self, row_format: RowFormat, n: int, frames: int) -> None:
        self.format = row_format
        self.arrays = layout(row_format, n, frames)
        self._frames = 0
        self._begun = False

    @abstractmethod
    def put(self, name: str, block: np.ndarray) -> None:
        """Appends to one of the arrays."""

    @abstractmethod
    def close(self) -> None:
        """Completes the group."""

    @abstractmethod
    def abandon(self) -> None:
        """Closes open files after an error."""

    def append(self, rows: Rows) -> None:
        """Adds rows."""
        self.put("keys", rows.keys)
        self.put("values", rows.values)
        if rows.offsets is not None:
            first = 0 if self._frames == 0 and not self._begun else 1
            self._begun = True
            self.put("offsets", rows.offsets[first:] + self._frames)
            self._frames += int(rows.offsets[-1])
        for name, column in rows.extra.items():
            self.put(f"side.{name}", column)
