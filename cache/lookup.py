"""Where a store has the rows of some keys: asked once for a plan, the rows to read and an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cache import keys as row_keys
from cache.key_index import KeyIndex

if TYPE_CHECKING:
    from cache.catalog import Catalog


class Lookup:
    """Keys and their rows; looked up when first needed, and again when the store's segments have changed.

    Args:
        catalog: of the store.
        keys: whose rows, in the order in which they are wanted.

    Attributes:
        keys: packed, uint8 (n, 16).
    """

    def __init__(self, catalog: Catalog, keys: row_keys.Keys) -> None:
        self.keys = row_keys.pack(keys)
        self._catalog = catalog
        self._index: KeyIndex | None = None
        self._rows = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def rows(self) -> np.ndarray:
        """Position of each key among all rows of the store, -1 where there is none: int64 (n,)."""
        index = self._catalog.index
        if index is not self._index:
            self._rows, self._index = index.find(self.keys), index
        return self._rows

    def missing(self) -> np.ndarray:
        """Which of the keys have no row yet, of equal ones the first: ascending positions, int64 (m,)."""
        absent = np.flatnonzero(self.rows < 0)
        return absent[KeyIndex([self.keys[absent]]).first_rows()]
