"""What one row looks like: its length, number type, whether rows differ in length, and the values beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.errors import UserError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float16", "bfloat16")
MOST_DIM = 1 << 20
"""More numbers in a row, or in a frame of it, are nothing that an encoder makes."""

SIDE_DTYPES = ("uint8", "int32", "int64", "float32", "float64")

_EXPONENT = {"float32": (np.uint32, 0x7F800000), "float16": (np.uint16, 0x7C00), "bfloat16": (np.uint16, 0x7F80)}


@dataclass(frozen=True)
class RowFormat:
    """The format of all rows of a store or artifact.

    Attributes:
        dim: length of a row, or of each frame of a ragged row.
        dtype: `float32`, `float16` or `bfloat16`. numpy has no bfloat16: those rows are stored as the upper 16 bits
            of a float32 in uint16 and read as float32.
        ragged: a row is (frames, dim), with its own number of frames, instead of (dim,).
        side: name -> dtype of one number per row beside the values, such as `valid_frames`.
    """

    dim: int
    dtype: str = "float32"
    ragged: bool = False
    side: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "side", MappingProxyType(dict(sorted(self.side.items()))))
        if type(self.dim) is not int or not 1 <= self.dim <= MOST_DIM:
            raise UserError(f"A row needs a whole length of at least 1 and at most {MOST_DIM:,}, got {self.dim!r}.")
        if type(self.ragged) is not bool:
            raise UserError(f"Whether rows are ragged is true or false, not {self.ragged!r}.")
        if self.dtype not in DTYPES:
            raise UserError(f"Rows are stored as {', '.join(DTYPES)}, not as {self.dtype!r}.")
        for name, dtype in self.side.items():
            if not name.isidentifier() or dtype not in SIDE_DTYPES:
                raise UserError(
                    f"Side value {name!r} ({dtype}) needs a plain name and one of {', '.join(SIDE_DTYPES)}."
                )

    def __hash__(self) -> int:
        return hash((self.dim, self.dtype, self.ragged, tuple(self.side.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return RowFormat, (self.dim, self.dtype, self.ragged, dict(self.side))

    def __str__(self) -> str:
        beside = "".join(f" + {name} ({dtype})" for name, dtype in self.side.items())
        return f"{'frames × ' if self.ragged else ''}{self.dim} {self.dtype}{beside}"

    def to_json(self) -> dict[str, Any]:
        """As it stands in store.json and in the attributes of segments and artifacts."""
        return {"dim": self.dim, "dtype": self.dtype, "ragged": self.ragged, "side": dict(self.side)}

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
