"""Rows that several writers computed for one key: which of them is read, and which contradict each other.

Copies that agree are all right, and the one is read whose bytes have the smallest hash: every reader chooses the same,
and nobody's name or clock has a say. Copies that differ by more than rounding cannot all be right; none of them is
read, `verify` and runs report them, and a run or `repair` drops them all, so that the row is computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from cache.key_index import KeyIndex
from cache.row_group import BLOCK_BYTES
from cache.rows import Rows

TOLERANCE = {"float32": 1e-2, "float16": 1e-2, "bfloat16": 3e-2}
"""Copies agree when they differ, frame by frame, by at most this share of their length (L2): ten times what the same
encoder gives on another device, and a hundredth of what tells other media apart."""

_UNKNOWN, _CONTRADICTION = -1, -2


class Copies:
    """The keys of an index that have more than one row.

    Args:
        index: of all rows.
        read: reads rows by their positions in it.
        row_bytes: about how many a row has.

    Attributes:
        first: position of the first row of each such key, ascending, int64 (n,).
    """

    def __init__(self, index: KeyIndex, read: Callable[[np.ndarray], Rows], row_bytes: int) -> None:
        self._read = read
        self._step = max(1, BLOCK_BYTES // (2 * row_bytes))
        self._members, self._starts = index.copies()
        self.first = self._members[self._starts[:-1]]
        self._chosen = np.full(len(self.first), _UNKNOWN, np.int64)

    def chosen(self, position: np.ndarray) -> np.ndarray:
        """Which row is read for the first row of a key: int64 (n,); -2 where the copies contradict each other.

        Args:
            position: of first rows, those of keys with a single row among them.
        """
        if not len(self.first):
            return position
        at = np.minimum(np.searchsorted(self.first, position), len(self.first) - 1)
        several = self.first[at] == position
        if not several.any():
            return position
        self._settle(np.unique(at[several]))
        return np.where(several, self._chosen[at], position)

    def contradictions(self) -> list[np.ndarray]:
        """The positions of all copies of each key whose copies contradict each other."""
        self._settle(np.arange(len(self.first)))
        return [self._of(key) for key in np.flatnonzero(self._chosen == _CONTRADICTION)]

    def needed(self, n: int) -> np.ndarray:
        """Which of all n rows are single, chosen, or part of a contradiction: bool (n,)."""
        self._settle(np.arange(len(self.first)))
        needed = np.ones(n, bool)
        settled = np.repeat(self._chosen, np.diff(self._starts))
        needed[self._members] = (settled == self._members) | (settled == _CONTRADICTION)
        return needed

    def chosen_for_all(self, n: int) -> np.ndarray:
        """The row that is read for each of all n rows, itself where that is not settled: int64 (n,)."""
        self._settle(np.arange(len(self.first)))
        chosen = np.arange(n)
        settled = np.repeat(self._chosen, np.diff(self._starts))
        chosen[self._members] = np.where(settled >= 0, settled, self._members)
        return chosen

    def _of(self, key: int) -> np.ndarray:
        return self._members[self._starts[key] : self._starts[key + 1]]

    def _settle(self, keys: np.ndarray) -> None:
        keys = keys[self._chosen[keys] == _UNKNOWN]
        for start in range(0, len(keys), self._step):
            some = keys[start : start + self._step]
            members = [self._of(key) for key in some]
            rows = self._read(np.concatenate(members))
            at = 0
            for key, positions in zip(some.tolist(), members, strict=True):
                best = _best(rows, range(at, at + len(positions)))
                self._chosen[key] = _CONTRADICTION if best is None else positions[best - at]
                at += len(positions)


def _best(rows: Rows, copies: range) -> int | None:
    """The copy to read, None if they contradict each other."""
    content = [_content(rows, i) for i in copies]
    if len(set(content)) == 1:
        return copies[0] if np.isfinite(rows.row(copies[0])).all() else None
    hashes = [hashlib.blake2b(one, digest_size=16).digest() for one in content]
    best = copies[hashes.index(min(hashes))]
    return best if all(agree(rows, best, i) for i in copies) else None


def _content(rows: Rows, i: int) -> bytes:
    values = rows.values[i] if rows.offsets is None else rows.values[rows.offsets[i] : rows.offsets[i + 1]]
    return values.tobytes() + b"".join(rows.side[name][i].tobytes() for name in rows.side)


def agree(rows: Rows, a: int, b: int) -> bool:
    """Whether two rows are the same up to rounding, and the numbers beside them."""
    near = same(rows.row(a), rows.row(b), rows.format.dtype)
    for column in rows.side.values():
        x, y = float(column[a]), float(column[b])
        allowed = TOLERANCE[rows.format.dtype] * max(abs(x), abs(y)) if column.dtype.kind == "f" else 0.0
        near = near and abs(x - y) <= allowed
    return near


def same(first: np.ndarray, second: np.ndarray, dtype: str) -> bool:
    """Whether two rows are the same up to rounding.

    Args:
        first: (dim,) or (frames, dim).
        second: the same of another copy.
        dtype: in which they are stored.
    """
    if first.shape != second.shape or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return False
    first, second = (np.atleast_2d(one).astype(np.float64) for one in (first, second))
    lengths = np.maximum(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    lengths = np.maximum(lengths, lengths.mean() if len(lengths) else 0.0)  # a silent frame is all rounding
    return bool((np.linalg.norm(first - second, axis=1) <= TOLERANCE[dtype] * lengths).all())
