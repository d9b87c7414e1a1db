"""Reads an array that another program wrote in a shape of its own, through zarr-python."""

from __future__ import annotations

import numpy as np

from cache.array_reader import Look
from cache.errors import Damage, DamageError
from cache.places import LocalPlace, Place
from cache.plain_claims import Shape, check_array

_ROWS = 1 << 12


class PlainArray:
    """What `ShardedArray` does, for such an array.

    Args:
        place: the array's folder.
        name: of the array, for messages.
        shape: that it must have; None where any length will do.
        dtype: that it must have.

    Raises:
        FalseClaim: it is something else, or claims more than its files hold.
        DamageError: it cannot be opened.
    """

    def __init__(self, place: Place, name: str, shape: Shape, dtype: np.dtype) -> None:
        check_array(place, name, shape, dtype)
        import zarr

        self._name = name
        where = place.path if isinstance(place, LocalPlace) else str(place)
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

    def damages(self, look: Look | None = None) -> list[Damage]:
        """Reads everything; what fails is named in blocks, and `look` is shown what does not."""
        found: list[Damage] = []
        for start in range(0, len(self), _ROWS):
            try:
                rows = self.read(start, min(len(self), start + _ROWS))
                if look is not None:
                    look(start, rows)
            except DamageError as error:
                found += error.damages
        return found
