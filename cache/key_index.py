"""Finds row keys among millions: sorted numbers, 28 bytes of memory a key, no Python object for any of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cache import keys as row_keys

_BLOCK = 1 << 16


class KeyIndex:
    """The keys of several segments, oldest first.

    Args:
        parts: packed keys of each segment, uint8 (n, 16).
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        counts = [len(part) for part in parts]
        self.first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        total = int(self.first[-1])
        self.packed = np.concatenate([row_keys.pack([]), *parts])
        high = self._halves[:, 0]
        # Stable: of a key written twice, the first row comes first; which is read, `cache.copies` decides.
        self._order = np.argsort(high, kind="stable").astype(np.uint32 if total < 1 << 32 else np.int64)
        self._sorted = high[self._order]

    @property
    def _halves(self) -> np.ndarray:
        return row_keys.halves(self.packed)

    def find(self, keys: row_keys.Keys) -> np.ndarray:
        """Position of each key among all rows, that of its first row, -1 where it is missing: int64 (n,)."""
        found = np.full(len(keys), -1, np.int64)
        if not len(self._order):
            return found
        halves = self._halves
        for start in range(0, len(keys), _BLOCK):
            wanted = row_keys.halves(row_keys.pack(keys[start : start + _BLOCK]))
            place = np.minimum(np.searchsorted(self._sorted, wanted[:, 0]), len(self._order) - 1)
            candidate = self._order[place].astype(np.int64)
            same = halves[candidate] == wanted
            hit = same.all(axis=1)
            block = np.where(hit, candidate, -1)
            for i in np.flatnonzero(same[:, 0] & ~hit):  # two keys that share their first 64 bits
                run = self._order[place[i] : np.searchsorted(self._sorted, wanted[i, 0], side="right")]
                match = run[halves[run, 1] == wanted[i, 1]]
                block[i] = match[0] if len(match) else -1
            found[start : start + _BLOCK] = block
        return found

    def copies(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows whose key has several, those of a key together and ascending: positions (m,), and where each key begins.

        Returns:
            int64 (m,), int64 (keys + 1,); keys are ordered by their first row.
        """
        again = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        suspects = np.unique(self._order[np.concatenate([again, again + 1])].astype(np.int64))
        if not len(suspects):
            return suspects, np.zeros(1, np.int64)
        first = self.find(self.packed[suspects])
        order = np.lexsort((suspects, first))
        members, first = suspects[order], first[order]
        counts = np.unique(first, return_counts=True)[1]
        several = np.repeat(counts > 1, counts)
        counts = counts[counts > 1]
        return members[several], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def first_rows(self) -> np.ndarray:
        """Which rows are the first of their key: bool (n,)."""
        again = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        first = np.ones(len(self.packed), bool)
        suspects = np.unique(self._order[np.concatenate([again, again + 1])].astype(np.int64))
        first[suspects] = self.find(self.packed[suspects]) == suspects
        return first
