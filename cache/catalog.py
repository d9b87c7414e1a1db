"""Which rows a store's segments hold, as last read: segments and the index of their keys."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import numpy as np

from cache.errors import Damage, DamageError, Unreadable
from cache.formats.group import BLOCK_BYTES
from cache.formats.zarr_group import ZarrGroup
from cache.keys import KeyIndex, Keys, pack_keys
from cache.rows import Rows
from cache.segments import Segments, StoreDescription

TOLERANCE = {"float32": 1e-2, "float16": 1e-2, "bfloat16": 3e-2}
"""Copies agree when they differ, frame by frame, by at most this share of their length (L2): ten times what the same
encoder gives on another device, and a hundredth of what separates other media."""
_UNKNOWN, _CONTRADICTION = -1, -2
T = TypeVar("T")


class Lookup:
    """Keys and their rows; found when first needed, and again when the store's segments have changed.

    Args:
        catalog: of the store.
        keys: whose rows, in the order in which they are wanted.

    Attributes:
        keys: packed, uint8 (n, 16).
    """

    def __init__(self, catalog: Catalog, keys: Keys) -> None:
        self.keys = pack_keys(keys)
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
    hashes = [hashlib.blake2b(data, digest_size=16).digest() for data in content]
    best = copies[hashes.index(min(hashes))]
    return best if all(agree(rows, best, i) for i in copies) else None


def _content(rows: Rows, i: int) -> bytes:
    values = rows.values[i] if rows.offsets is None else rows.values[rows.offsets[i] : rows.offsets[i + 1]]
    return values.tobytes() + b"".join(rows.extra[name][i].tobytes() for name in rows.extra)


def agree(rows: Rows, a: int, b: int) -> bool:
    """Whether two rows are the same up to rounding, and the numbers beside them."""
    near = same(rows.row(a), rows.row(b), rows.format.dtype)
    for column in rows.extra.values():
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
    first, second = (np.atleast_2d(row).astype(np.float64) for row in (first, second))
    lengths = np.maximum(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    lengths = np.maximum(lengths, lengths.mean() if len(lengths) else 0.0)  # a silent frame is all rounding
    return bool((np.linalg.norm(first - second, axis=1) <= TOLERANCE[dtype] * lengths).all())


def damaged_store(path: str, damages: Sequence[Damage], segment: str | None = None) -> DamageError:
    """The error that names damage in a store, and what to do about it."""
    prefix = f"segments/{segment}/" if segment else ""
    named = [Damage(prefix + damage.file, damage.rows, damage.reason, damage.keys) for damage in damages]
    return DamageError(named, path, f"run `hearonce cache repair {path}`; only the damaged rows are embedded anew")


class Catalog:
    """Segments are immutable, so what was read of one stays true; only which there are may change.

    Args:
        path: of the store, for messages.
        segments: of the store.
        description: of the store.

    Attributes:
        unreadable: segments that the operating system does not let this process read, with a sentence that says so.
            Their rows count as missing: they are computed again rather than waited for.
    """

    def __init__(self, path: str, segments: Segments, description: StoreDescription) -> None:
        self._path = path
        self._segments = segments
        self._description = description
        self._groups: dict[str, ZarrGroup] = {}
        self._index: KeyIndex | None = None
        self._copies: Copies | None = None
        self.unreadable: dict[str, str] = {}
        self.stale = True

    @property
    def index(self) -> KeyIndex:
        """All keys."""
        if self._index is None or self.stale:
            self.refresh()
        assert self._index is not None
        return self._index

    @property
    def groups(self) -> dict[str, ZarrGroup]:
        """Segments by name, oldest first."""
        _ = self.index
        return self._groups

    def refresh(self) -> None:
        """Reads again which segments are committed.

        Raises:
            UserError: the store has vanished, or a segment has a damaged description or keys or is another store's.
        """
        self._segments.check_exists()
        opened = dict(self._groups)
        before: set[str] | None = None
        while True:  # until nothing goes meanwhile: one reading may miss both what goes and what has taken its rows
            names = self._segments.names()
            unreadable: dict[str, str] = {}
            failed = {name for name in names if name not in opened and not self._open(name, opened, unreadable)}
            if before is not None and before <= set(names) and failed <= before:
                break
            before = set(names)
        groups = {name: opened[name] for name in names if name in opened}
        if self._index is None or list(groups) != list(self._groups):
            self._index = KeyIndex([group.keys for group in groups.values()])
            self._copies = None
            for group, (start, stop) in zip(groups.values(), pairwise(self._index.first), strict=True):
                group.keys = self._index.packed[start:stop]
        self._groups, self.unreadable, self.stale = groups, unreadable, False

    def preload(self, groups: Mapping[str, ZarrGroup]) -> None:
        """Takes segments that are open already, which the first `refresh` then need not open."""
        if self._index is None:
            self._groups = dict(groups)

    def _open(self, name: str, opened: dict[str, ZarrGroup], unreadable: dict[str, str]) -> bool:
        """Opens a segment; False if it is not committed (any more)."""
        try:
            with self.naming_damage(name):
                group = self._segments.open(name)
                if group is None:
                    return False
                if foreign := self._description.foreign(group):
                    raise DamageError([foreign])
                _ = group.keys
                opened[name] = group
        except Unreadable as error:
            unreadable[name] = str(error)
        except FileNotFoundError:
            return False
        return True

    @property
    def copies(self) -> Copies:
        """The keys that have more than one row."""
        index = self.index
        if self._copies is None:
            row_bytes = self._description.format.row_bytes
            self._copies = Copies(index, self._read, row_bytes)
        return self._copies

    def settled(self, position: np.ndarray) -> np.ndarray:
        """Which row is read for the first row of each key (see `cache.catalog`).

        Raises:
            DamageError: the copies of a key contradict each other.
        """
        chosen = self.copies.chosen(position)
        bad = np.flatnonzero(chosen < -1)
        if len(bad):
            raise damaged_store(
                self._path, [damage for at in bad[:1] for damage in self.contradiction(position[at : at + 1])]
            )
        return chosen

    def contradiction(self, copies: np.ndarray) -> list[Damage]:
        """Says of rows, each by its position, that they contradict others of their keys."""
        return [
            Damage(
                f"segments/{name}/values",
                (int(row), int(row) + 1),
                "differs from another row of the same key by more than rounding",
                (self.index.packed[position].tobytes(),),
            )
            for name, local, target in self.locate(copies)
            for row, position in zip(local.tolist(), copies[target].tolist(), strict=True)
        ]

    def read(self, wanted: Lookup, part: slice = slice(None)) -> Rows:
        """Rows in the order of the keys.

        Args:
            wanted: keys.
            part: which of them.

        Raises:
            KeyError: a key has no row.
            UserError: a segment is damaged.
        """
        return self.with_refresh(lambda: self._read(self.settled(wanted.rows[part])))

    def frames(self, wanted: Lookup) -> int:
        """Frames of these rows together; raises as `read` does."""
        return self.with_refresh(lambda: self._frames(self.settled(wanted.rows)))

    def locate(self, position: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Per segment: its name, the rows wanted of it, and where they go.

        Args:
            position: of each row among all, as of `KeyIndex.find`.

        Raises:
            KeyError: a key has no row.
        """
        if (position < 0).any():
            raise KeyError(f"{self._path} lacks {int((position < 0).sum())} of {len(position)} rows")
        segment = np.searchsorted(self.index.first, position, side="right") - 1
        order = np.argsort(segment, kind="stable")
        cuts = np.searchsorted(segment[order], np.arange(len(self._groups) + 1))
        return [
            (name, position[order[a:b]] - first, order[a:b])
            for name, first, (a, b) in zip(self._groups, self.index.first[:-1], pairwise(cuts), strict=True)
            if a < b
        ]

    def with_refresh(self, read: Callable[[], T]) -> T:
        """What `read` returns, which finds rows anew when another process has merged their segments meanwhile.

        However often: each time others have removed segments, and they come to an end.
        """
        while True:
            try:
                return read()
            except FileNotFoundError as error:
                before = list(self._groups)
                self.refresh()
                if list(self._groups) == before:
                    file = str(error.filename).removeprefix(f"{self._path}/")
                    raise damaged_store(self._path, [Damage(file, None, "is missing")]) from None

    @contextmanager
    def naming_damage(self, segment: str) -> Iterator[None]:
        """Says in which segment of which store damage was met, or which file of it is lost, and what to do.

        Raises:
            FileNotFoundError: another process has removed the segment, which only seemed damaged.
        """
        try:
            yield
        except (DamageError, FileNotFoundError) as error:
            location = self._segments.location(segment)
            if not self._segments.holds(segment):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(location)) from None
            if isinstance(error, DamageError):
                damages = error.damages
            else:
                damages = (Damage(str(error.filename or error).removeprefix(f"{location}/"), None, "is missing"),)
            raise damaged_store(self._path, damages, segment) from None

    def _frames(self, position: np.ndarray) -> int:
        total = 0
        for name, local, _ in self.locate(position):
            with self.naming_damage(name):
                total += self._groups[name].frames(local)
        return total

    def _read(self, position: np.ndarray) -> Rows:
        parts, targets = [], [np.zeros(0, np.int64)]
        for name, local, target in self.locate(position):
            with self.naming_damage(name):
                parts.append(self._groups[name].take(local))
            targets.append(target)
        rows = Rows.join(self._description.format, parts)
        target = np.concatenate(targets)
        if (np.diff(target) == 1).all():
            return rows
        back = np.empty(len(target), np.int64)
        back[target] = np.arange(len(target))
        return rows.take(back)
