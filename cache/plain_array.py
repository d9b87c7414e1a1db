"""Reads an array that another program wrote in a shape of its own, through zarr-python."""

from __future__ import annotations

import numpy as np

from cache.errors import Damage, DamageError
from cache.places import LocalPlace, Place

_ROWS = 1 << 12


class PlainArray:
    """What `ShardedArray` does, for such an array."""

    def __init__(self, place: Place, name: str) -> None:
        import zarr

        self._name = name
        where = place.path if isinstance(place, LocalPlace) else str(place)
        self._array = zarr.open_array(where, mode="r")
        self.shape: tuple[int, ...] = self._array.shape
        self.dtype = np.dtype(self._array.dtype).newbyteorder("<")

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop."""
        stop = len(self) if stop is None else stop
        try:
            return np.asarray(self._array[start:stop])
        except (ValueError, OSError, RuntimeError) as error:
            raise DamageError([Damage(self._name, (start, stop), f"cannot be read ({error})")]) from None

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows by number, in the order asked for."""
        try:
            return np.asarray(self._array.oindex[np.asarray(rows, np.int64)])
        except (ValueError, OSError, RuntimeError) as error:
            reach = (int(np.min(rows)), int(np.max(rows)) + 1)
            raise DamageError([Damage(self._name, reach, f"cannot be read ({error})")]) from None

    def damages(self) -> list[Damage]:
        """Reads everything; what fails is named in blocks."""
        found: list[Damage] = []
        for start in range(0, len(self), _ROWS):
            try:
                self.read(start, min(len(self), start + _ROWS))
            except DamageError as error:
                found += error.damages
        return found
