"""Rows in memory, as they pass between stores, artifacts and exchange files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.errors import UserError
from cache.keys import Keys, first_duplicate, pack_keys

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float16", "bfloat16")
MOST_DIM = 1 << 20
"""More numbers in a row, or in a frame of it, are nothing that an encoder makes."""

EXTRA_DTYPES = ("uint8", "int32", "int64", "float32", "float64")

_EXPONENT = {"float32": (np.uint32, 0x7F800000), "float16": (np.uint16, 0x7C00), "bfloat16": (np.uint16, 0x7F80)}


@dataclass(frozen=True)
class RowFormat:
    """The format of all rows of a store or artifact.

    Attributes:
        dim: length of a row, or of each frame of a ragged row.
        dtype: `float32`, `float16` or `bfloat16`. numpy has no bfloat16: those rows are stored as the upper 16 bits
            of a float32 in uint16 and read as float32.
        ragged: a row is (frames, dim), with its own number of frames, instead of (dim,).
        extra: name -> dtype of one number per row beside the values, such as `valid_frames`.
    """

    dim: int
    dtype: str = "float32"
    ragged: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", MappingProxyType(dict(sorted(self.extra.items()))))
        if type(self.dim) is not int or not 1 <= self.dim <= MOST_DIM:
            raise UserError(f"A row needs a whole length of at least 1 and at most {MOST_DIM:,}, got {self.dim!r}.")
        if type(self.ragged) is not bool:
            raise UserError(f"Whether rows are ragged is true or false, not {self.ragged!r}.")
        if self.dtype not in DTYPES:
            raise UserError(f"Rows are stored as {', '.join(DTYPES)}, not as {self.dtype!r}.")
        for name, dtype in self.extra.items():
            if not name.isidentifier() or dtype not in EXTRA_DTYPES:
                raise UserError(
                    f"Extra value {name!r} ({dtype}) needs a plain name and part of {', '.join(EXTRA_DTYPES)}."
                )

    def __hash__(self) -> int:
        return hash((self.dim, self.dtype, self.ragged, tuple(self.extra.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return RowFormat, (self.dim, self.dtype, self.ragged, dict(self.extra))

    def __str__(self) -> str:
        beside = "".join(f" + {name} ({dtype})" for name, dtype in self.extra.items())
        return f"{'frames × ' if self.ragged else ''}{self.dim} {self.dtype}{beside}"

    def to_json(self) -> dict[str, Any]:
        """As it stands in store.json and in the attributes of segments and artifacts."""
        return {"dim": self.dim, "dtype": self.dtype, "ragged": self.ragged, "side": dict(self.extra)}

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> RowFormat:
        """The inverse of `to_json`.

        Raises:
            UserError: it describes no format that this version knows.
        """
        try:
            return cls(described["dim"], described["dtype"], described["ragged"], described["side"])
        except (KeyError, TypeError, AttributeError, ValueError):
            raise UserError(f"{str(described)[:200]} describes no row format.") from None

    @property
    def storage(self) -> np.dtype:
        """The numpy type on the disk, little-endian: that of `dtype`, uint16 for bfloat16."""
        return np.dtype("<u2" if self.dtype == "bfloat16" else self.dtype).newbyteorder("<")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, or of one frame of a ragged row."""
        return self.dim * self.storage.itemsize

    def encode(self, values: Any) -> np.ndarray:
        """Numbers as they are stored: any real numpy array or torch tensor, rounded to nearest even."""
        if hasattr(values, "detach"):
            values = _from_torch(values)
        array = np.asarray(values)
        with np.errstate(over="ignore"):  # a number too large for the type becomes infinite, and is refused as such
            array = np.ascontiguousarray(array, np.float32 if self.dtype == "bfloat16" else self.storage)
        if self.dtype != "bfloat16":
            return array
        bits = array.view(np.uint32)
        rounded = ((bits + (((bits >> 16) & 1) + 0x7FFF).astype(np.uint32)) >> 16).astype(np.uint16)
        return np.where(np.isnan(array), np.uint16(0x7FC0), rounded)

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """Stored numbers as numpy computes with them: bfloat16 becomes float32, exactly; the rest is not copied."""
        if self.dtype != "bfloat16":
            return stored
        return (stored.astype(np.uint32) << 16).view(np.float32)

    def as_torch(self, stored: np.ndarray) -> torch.Tensor:
        """Stored numbers as a tensor of `dtype`, sharing memory."""
        import torch

        if self.dtype != "bfloat16":
            return torch.from_numpy(stored)
        return torch.from_numpy(stored.view(np.int16)).view(torch.bfloat16)

    def not_finite(self, stored: np.ndarray) -> np.ndarray:
        """Which of the stored rows or frames (n, dim) hold NaN or infinity: bool (n,)."""
        unsigned, exponent = _EXPONENT[self.dtype]
        bits = stored.view(unsigned)
        bad = np.zeros(len(bits), bool)
        step = max(1, (1 << 18) // self.dim)
        for start in range(0, len(bits), step):
            block = bits[start : start + step] & unsigned(exponent)
            if block.max(initial=0) == exponent:
                bad[start : start + step] = (block == exponent).any(axis=1)
        return bad


def _from_torch(tensor: torch.Tensor) -> np.ndarray:
    import torch

    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


@dataclass(frozen=True)
class Rows:
    """n rows with their keys.

    Attributes:
        format: of the rows.
        keys: uint8 (n, 16).
        values: as stored (`RowFormat.storage`): (n, dim), or all frames of ragged rows one after another.
        offsets: int64 (n + 1,), where each ragged row begins in `values`; None for rows of one length.
        extra: one number per row under each name of the format.
    """

    format: RowFormat
    keys: np.ndarray
    values: np.ndarray
    offsets: np.ndarray | None = None
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        row_format: RowFormat,
        keys: Keys,
        values: Any,
        extra: Mapping[str, Any] | None = None,
        *,
        where: str = "The batch",
    ) -> Rows:
        """Checks a batch and brings it into the stored form.

        Args:
            row_format: what the rows must be.
            keys: one per row, distinct.
            values: (n, dim) array or tensor; for a ragged format a sequence of n arrays (frames, dim).
            extra: name -> n numbers, for exactly the names of the format.
            where: subject of the sentence when something is wrong.

        Raises:
            UserError: a wrong dimension, a row that is not finite, a key given twice, missing extra values.
        """
        packed = pack_keys(keys)
        n = len(packed)
        offsets = None
        if row_format.ragged:
            parts = [row_format.encode(part) for part in values]
            wrong = next((i for i, part in enumerate(parts) if part.ndim != 2 or part.shape[1] != row_format.dim), None)
            if wrong is not None:
                raise UserError(
                    f"{where} was refused: row {wrong} has shape {parts[wrong].shape}, expected "
                    f"(frames, {row_format.dim})."
                )
            if len(parts) != n:
                raise UserError(f"{where} was refused: {len(parts)} rows came with {n} keys.")
            offsets = np.zeros(n + 1, np.int64)
            np.cumsum([len(part) for part in parts], out=offsets[1:])
            stored = np.concatenate(parts) if parts else np.zeros((0, row_format.dim), row_format.storage)
        else:
            stored = row_format.encode(values)
            if stored.shape != (n, row_format.dim) and not (n == 0 and stored.size == 0):
                raise UserError(
                    f"{where} was refused: its values have shape {stored.shape}, expected {(n, row_format.dim)}."
                )
            stored = stored.reshape(n, row_format.dim)
        given = extra or {}
        if set(given) != set(row_format.extra):
            raise UserError(
                f"{where} was refused: it has extra values {sorted(given)}, expected {sorted(row_format.extra)}."
            )
        beside = {name: _extra_values(given[name], kind, n, name, where) for name, kind in row_format.extra.items()}
        rows = cls(row_format, packed, stored, offsets, beside)
        rows.check(where)
        return rows

    def check(self, where: str) -> None:
        """Refuses rows that are not finite, that no key names, or of which two have the same key.

        Args:
            where: subject of the sentence.

        Raises:
            UserError: there are such rows.
        """
        bad = self.format.not_finite(self.values)
        if bad.any():
            first = int(np.argmax(bad))
            row = first if self.offsets is None else int(np.searchsorted(self.offsets, first, side="right") - 1)
            raise UserError(
                f"{where} was refused: row {row} (key {self.keys[row].tobytes().hex()}) is not finite in "
                f"{self.format.dtype}."
            )
        unnamed = np.flatnonzero(~self.keys.any(axis=1))
        if len(unnamed):
            raise UserError(f"{where} was refused: row {unnamed[0]} has a key of zeros, which names nothing.")
        self.check_distinct(where)

    def check_distinct(self, where: str) -> None:
        """Refuses rows of which two have the same key.

        Raises:
            UserError: two have.
        """
        again = first_duplicate(self.keys)
        if again is not None:
            raise UserError(f"{where} was refused: it holds key {self.keys[again].tobytes().hex()} twice.")

    @classmethod
    def join(cls, row_format: RowFormat, parts: Sequence[Rows]) -> Rows:
        """All rows of the parts, one after another."""
        if len(parts) == 1:
            return parts[0]
        offsets = None
        if row_format.ragged:
            lengths = [np.diff(part.offsets) for part in parts if part.offsets is not None]
            offsets = np.zeros(sum(map(len, parts)) + 1, np.int64)
            np.cumsum(np.concatenate([*lengths, np.zeros(0, np.int64)]), out=offsets[1:])
        none = np.zeros((0, row_format.dim), row_format.storage)
        return cls(
            row_format,
            np.concatenate([pack_keys([]), *(part.keys for part in parts)]),
            np.concatenate([none, *(part.values for part in parts)]),
            offsets,
            {
                name: np.concatenate([np.zeros(0, kind), *(part.extra[name] for part in parts)])
                for name, kind in row_format.extra.items()
            },
        )

    def __len__(self) -> int:
        return len(self.keys)

    def fit(self) -> bool:
        """Whether keys, values, offsets and extra values are of the same rows."""
        n = len(self)
        if self.offsets is None:
            together = len(self.values) == n
        else:
            ends = len(self.offsets) == n + 1 and (self.offsets[0], self.offsets[-1]) == (0, len(self.values))
            together = ends and bool((np.diff(self.offsets) >= 0).all())
        return together and all(len(column) == n for column in self.extra.values())

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return int(self.values.nbytes)

    def take(self, index: np.ndarray) -> Rows:
        """The rows at these positions, in that order."""
        offsets, values = None, None
        if self.offsets is None:
            values = self.values[index]
        else:
            offsets, frames = frames_of(self.offsets[:-1][index], self.offsets[1:][index])
            values = self.values[frames]
        extra = {name: column[index] for name, column in self.extra.items()}
        return Rows(self.format, self.keys[index], values, offsets, extra)

    def row(self, i: int) -> np.ndarray:
        """One row for computing: (dim,) or (frames, dim); bfloat16 as float32."""
        part = self.values[i] if self.offsets is None else self.values[self.offsets[i] : self.offsets[i + 1]]
        return self.format.decode(part)

    def numpy(self) -> np.ndarray | list[np.ndarray]:
        """Values for computing: (n, dim), or a list of (frames, dim) when ragged; bfloat16 as float32."""
        if self.offsets is None:
            return self.format.decode(self.values)
        return [self.row(i) for i in range(len(self))]

    def torch(self) -> torch.Tensor | list[torch.Tensor]:
        """Values as tensors of the format's dtype, in the shapes of `numpy`, sharing memory."""
        tensor = self.format.as_torch(self.values)
        if self.offsets is None:
            return tensor
        return list(tensor.split(np.diff(self.offsets).tolist()))


def frames_of(starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (n + 1,) of ragged rows put one after another, and the positions of all their frames."""
    lengths = stops - starts
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets, np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)


def _extra_values(given: Any, kind: str, n: int, name: str, where: str) -> np.ndarray:
    column = np.asarray(given)
    if column.shape != (n,) or column.dtype.kind not in "biuf" or not np.isfinite(column).all():
        raise UserError(f"{where} was refused: extra value {name!r} needs {n} finite numbers.")
    converted = column.astype(np.dtype(kind).newbyteorder("<"))
    if not np.array_equal(converted.astype(column.dtype), column) and np.dtype(kind).kind in "iu":
        raise UserError(f"{where} was refused: extra value {name!r} does not fit {kind}.")
    return converted
