"""Things made of files that others replace: kept as long as the files are the same, made again when they are not."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

MOST_KEPT = 64
"""Galleries, corpora, subsets, conditions: of each kind, the last ones made."""

T = TypeVar("T")
Key = tuple[str, ...]


class MadeOfFiles:
    """A bounded memory of things by key; the first part of a key says of what kind a thing is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[Key, tuple[object, object]] = OrderedDict()
        self._making: dict[Key, threading.Lock] = {}

    def current(self, key: Key, files: Sequence[Path], make: Callable[[], T]) -> T:
        """What was made of files, made again when one of them has been replaced.

        Threads that ask for it while it is being made wait for that one.

        Args:
            key: of what is made.
            files: that it is made of.
            make: makes it.
        """
        with self._lock:
            made = self._made.get(key)
        if made is not None and made[0] == stamp_of(files):
            return made[1]  # type: ignore[return-value]
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            stamp = stamp_of(files)
            try:
                with self._lock:
                    made = self._made.get(key)
                if made is not None and made[0] == stamp:
                    return made[1]  # type: ignore[return-value]
                thing = make()
                if stamp_of(files) == stamp:
                    self._keep(key, stamp, thing)
                return thing
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def keys(self, beginning: Key) -> list[Key]:
        """Keys of what is kept, those that begin so."""
        with self._lock:
            return [key for key in self._made if key[: len(beginning)] == beginning]

    def is_current(self, key: Key, files: Sequence[Path]) -> bool:
        """Whether what is kept was made of the files as they are."""
        with self._lock:
            made = self._made.get(key)
        return made is not None and made[0] == stamp_of(files)

    def _keep(self, key: Key, stamp: object, thing: object) -> None:
        with self._lock:
            self._made[key] = stamp, thing
            self._made.move_to_end(key)
            of_kind = [one for one in self._made if one[0] == key[0]]
            for former in of_kind[:-MOST_KEPT]:
                del self._made[former]


def stamp_of(files: Sequence[Path]) -> tuple[tuple[int, int, int] | None, ...]:
    """What differs when one of some files has been replaced, written to or taken away."""
    stamps: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(stamps)
