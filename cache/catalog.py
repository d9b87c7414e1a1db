"""Which rows a store's segments hold, as last looked at: the one place that knows both the segments and their keys."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from cache.copies import Copies
from cache.errors import Damage, DamageError, Unreadable
from cache.key_index import KeyIndex
from cache.rows import Rows
from cache.segments import Segments
from cache.store_description import StoreDescription
from cache.zarr_group import ZarrGroup

if TYPE_CHECKING:
    from cache.lookup import Lookup

T = TypeVar("T")


def damaged_store(path: str, damages: Sequence[Damage], segment: str | None = None) -> DamageError:
    """The error that names damage in a store, and what to do about it."""
    prefix = f"segments/{segment}/" if segment else ""
    named = [Damage(prefix + one.file, one.rows, one.reason, one.keys) for one in damages]
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
        """Looks again which segments are committed.

        Raises:
            UserError: the store has vanished, or a segment has a damaged description or keys or is another store's.
        """
        self._segments.check_there()
        opened = dict(self._groups)
        before: set[str] | None = None
        while True:  # until nothing goes meanwhile: a look may miss both what goes and what has taken its rows
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

    def know(self, groups: Mapping[str, ZarrGroup]) -> None:
        """Segments that were opened already, which a first look then need not open again."""
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
        """Which row is read for the first row of each key (see `cache.copies`).

        Raises:
            DamageError: the copies of a key contradict each other.
        """
        chosen = self.copies.chosen(position)
        bad = np.flatnonzero(chosen < -1)
        if len(bad):
            raise damaged_store(
                self._path, [one for at in bad[:1] for one in self.contradiction(position[at : at + 1])]
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
            for name, local, place in self.locate(copies)
            for row, position in zip(local.tolist(), copies[place].tolist(), strict=True)
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
        return self.looking_again(lambda: self._read(self.settled(wanted.rows[part])))

    def frames(self, wanted: Lookup) -> int:
        """Frames of these rows together; raises as `read` does."""
        return self.looking_again(lambda: self._frames(self.settled(wanted.rows)))

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

    def looking_again(self, read: Callable[[], T]) -> T:
        """What `read` returns, which looks rows up anew when another process has merged their segments meanwhile.

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
            FileNotFoundError: another process has removed the segment, which only looked like damage.
        """
        try:
            yield
        except (DamageError, FileNotFoundError) as error:
            place = self._segments.place(segment)
            if not self._segments.holds(segment):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place)) from None
            if isinstance(error, DamageError):
                damages = error.damages
            else:
                damages = (Damage(str(error.filename or error).removeprefix(f"{place}/"), None, "is missing"),)
            raise damaged_store(self._path, damages, segment) from None

    def _frames(self, position: np.ndarray) -> int:
        total = 0
        for name, local, _ in self.locate(position):
            with self.naming_damage(name):
                total += self._groups[name].frames(local)
        return total

    def _read(self, position: np.ndarray) -> Rows:
        parts, places = [], [np.zeros(0, np.int64)]
        for name, local, place in self.locate(position):
            with self.naming_damage(name):
                parts.append(self._groups[name].take(local))
            places.append(place)
        rows = Rows.join(self._description.format, parts)
        place = np.concatenate(places)
        if (np.diff(place) == 1).all():
            return rows
        back = np.empty(len(place), np.int64)
        back[place] = np.arange(len(place))
        return rows.take(back)
