"""Reads and prepares rows in threads, ahead of the device and within a bound of memory."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
G = TypeVar("G")

AHEAD_BATCHES = 8
"""Batches that wait for the device at most; from so many rows those of one batch are picked by length."""

AHEAD_BYTES = 512 << 20
"""Prepared rows together, those being encoded included, take no more than this, unless a single one does."""


def nbytes(item: Any) -> int:
    """About how much memory a prepared item takes, whatever arrays, tensors and strings it is made of."""
    known = getattr(item, "nbytes", None)
    if isinstance(known, int):
        return known
    if isinstance(item, Mapping):
        return sum(nbytes(one) for one in item.values())
    if isinstance(item, list | tuple):
        return sum(nbytes(one) for one in item)
    if dataclasses.is_dataclass(item):
        return sum(nbytes(getattr(item, field.name)) for field in dataclasses.fields(item))
    return sys.getsizeof(item)


class Waiting(Generic[T]):
    """Entries that several threads put in and one takes out in batches of similar size.

    Args:
        batch_size: taken at a time, to begin with.
        most_bytes: that the entries in here and in the batch taken last may have together; a single larger entry is
            let in when there is no other.
    """

    def __init__(self, batch_size: int, most_bytes: int = AHEAD_BYTES) -> None:
        self._most_bytes = most_bytes
        self._most_entries = AHEAD_BATCHES * batch_size
        self._entries: list[tuple[int, T]] = []  # oldest first
        self._bytes = self._taken_bytes = 0
        self._held_back: list[int] = []  # sizes of what waits to be let in
        self._ended = self._closed = False
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        """Nobody takes entries any more."""
        return self._closed

    def put(self, entry: T, size: int) -> None:
        """Adds an entry of so many bytes as soon as there is room for it."""
        with self._changed:
            self._held_back.append(size)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._has_room(size))
            self._held_back.remove(size)
            if not self._closed:
                self._entries.append((size, entry))
                self._bytes += size
                self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        if not self._entries and not self._taken_bytes:
            return True
        within = self._bytes + self._taken_bytes + size <= self._most_bytes
        return within and len(self._entries) < self._most_entries

    def take(self, batch_size: int) -> list[T]:
        """Waits for a batch; what was taken before no longer counts as memory in use.

        The batch has the entry that has waited longest and those nearest to it in size, so that little is padded and
        none waits for ever; entries of one size come in their order. It is smaller than asked for at the end, and when
        larger ones do not fit into the memory.

        Returns:
            No entries at all after the end.
        """
        with self._changed:
            self._taken_bytes = 0
            self._most_entries = max(self._most_entries, AHEAD_BATCHES * batch_size)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ended or len(self._entries) >= batch_size or self._stuck())
            by_size = sorted(range(len(self._entries)), key=lambda i: (self._entries[i][0], i))
            middle = by_size.index(0) if by_size else 0
            first = max(0, min(middle - batch_size // 2, len(by_size) - batch_size))
            chosen = set(by_size[first : first + batch_size])
            batch = [entry for i, (_, entry) in enumerate(self._entries) if i in chosen]
            self._taken_bytes = sum(self._entries[i][0] for i in chosen)
            self._bytes -= self._taken_bytes
            self._entries = [one for i, one in enumerate(self._entries) if i not in chosen]
            self._changed.notify_all()
            return batch

    def _stuck(self) -> bool:
        """Some wait to be let in, and none will be before others are taken."""
        return bool(self._held_back) and not any(self._has_room(size) for size in self._held_back)

    def end(self) -> None:
        """No entry will be added."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """No entry will be taken: those who wait to add one give up."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@contextmanager
def in_threads(work: Callable[[G], None], groups: Sequence[G], waiting: Waiting[Any], workers: int) -> Iterator[None]:
    """Runs `work` on each group in threads while the block runs; ends `waiting` when all are done.

    The threads have ended when the block is left, early or not; `work` looks at `waiting.closed` now and then. An
    error of `work` is raised at the end of the block.
    """
    errors: list[BaseException] = []

    def unless_closed(group: G) -> None:
        if not waiting.closed:
            work(group)

    def run() -> None:
        with ThreadPoolExecutor(workers, "decode") as pool:
            futures = [pool.submit(unless_closed, group) for group in groups]
        errors.extend(error for future in futures if (error := future.exception()))
        waiting.end()

    thread = threading.Thread(target=run, name="decode-all", daemon=True)
    try:
        thread.start()
        yield
    finally:
        waiting.close()
        if thread.is_alive():
            thread.join()
    for error in errors:
        raise error
