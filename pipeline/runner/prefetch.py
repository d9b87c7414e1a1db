"""Prefetching: threads read and prepare items ahead of the device, within a bound of memory."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, TypeVar

from pipeline.monitor.device import processors

T = TypeVar("T")
G = TypeVar("G")

AHEAD_BATCHES = 8
"""Batches that wait for the device at most; from so many rows those of one batch are picked by length."""

AHEAD_BYTES = 512 << 20
"""Prepared rows together, those being encoded included, take no more than this, unless a single one does."""

WINDOW_S = 2.0
"""After so long it is decided anew whether to read in one thread more."""

IDLE, BUSY = 0.2, 0.7
"""One more is of use where the device waits for this share of the time and the processors are less busy than that."""


def nbytes(item: Any) -> int:
    """About how much memory a prepared item takes, whatever arrays, tensors and strings it is made of."""
    known = getattr(item, "nbytes", None)
    if isinstance(known, int):
        return known
    if isinstance(item, Mapping):
        return sum(nbytes(part) for part in item.values())
    if isinstance(item, list | tuple):
        return sum(nbytes(part) for part in item)
    if dataclasses.is_dataclass(item):
        return sum(nbytes(getattr(item, field.name)) for field in dataclasses.fields(item))
    return sys.getsizeof(item)


class BatchQueue(Generic[T]):
    """Entries that several threads put in and one takes out in batches of similar size.

    Args:
        batch_size: taken at a time, to begin with.
        most_bytes: that the entries in here and in the batch taken last may have together; a single larger entry is
            added when there is no other.
    """

    def __init__(self, batch_size: int, most_bytes: int = AHEAD_BYTES) -> None:
        self._most_bytes = most_bytes
        self._most_entries = AHEAD_BATCHES * batch_size
        self._entries: list[tuple[int, T]] = []  # oldest first
        self._bytes = self._taken_bytes = 0
        self._blocked: list[int] = []  # sizes of entries that wait to be added
        self._ended = self._closed = False
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        """Nobody takes entries any more."""
        return self._closed

    def put(self, entry: T, size: int) -> None:
        """Adds an entry of so many bytes as soon as it fits."""
        with self._changed:
            self._blocked.append(size)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._fits(size))
            self._blocked.remove(size)
            if not self._closed:
                self._entries.append((size, entry))
                self._bytes += size
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
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
            self._entries = [entry for i, entry in enumerate(self._entries) if i not in chosen]
            self._changed.notify_all()
            return batch

    def _stuck(self) -> bool:
        """Some entries wait to be added, and none will be before others are taken."""
        return bool(self._blocked) and not any(self._fits(size) for size in self._blocked)

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
def prefetching(work: Callable[[G], None], groups: Sequence[G], queue: BatchQueue[Any], workers: int) -> Iterator[None]:
    """Runs `work` on each group in threads while the block runs; ends the queue when all are done.

    The threads have ended when the block is left, early or not; `work` checks `queue.closed` now and then. An
    error of `work` is raised at the end of the block.
    """
    errors: list[BaseException] = []

    def unless_closed(group: G) -> None:
        if not queue.closed:
            work(group)

    def run() -> None:
        with ThreadPoolExecutor(workers, "decode") as pool:
            futures = [pool.submit(unless_closed, group) for group in groups]
        errors.extend(error for future in futures if (error := future.exception()))
        queue.end()

    thread = threading.Thread(target=run, name="decode-all", daemon=True)
    try:
        thread.start()
        yield
    finally:
        queue.close()
        if thread.is_alive():
            thread.join()
    for error in errors:
        raise error


def wants_thread(idle: float, busy: float) -> bool:
    """Whether one more reading thread is of use: the device waits, and reading does not wait for the processors.

    Args:
        idle: share of the time in which the device had nothing to do.
        busy: share of the processors' time that was used.
    """
    return idle > IDLE and busy < BUSY


class ReaderThreads:
    """Lets so many threads read at a time, and more as long as they wait for disks or networks and the device for them.

    Args:
        count: to begin with.
        most: that there may be.

    Attributes:
        count: now.
    """

    def __init__(self, count: int, most: int) -> None:
        self.count, self.most = count, max(count, most)
        self._gate = threading.Semaphore(count)
        self._idle_s, self._since, self._used = 0.0, time.monotonic(), time.process_time()

    def reading(self) -> AbstractContextManager[object]:
        """Held by a thread while it reads."""
        return self._gate

    def waited(self, seconds: float) -> None:
        """The device has had nothing to do for so long."""
        self._idle_s += seconds
        now, used = time.monotonic(), time.process_time()
        passed = now - self._since
        if passed < WINDOW_S or self.count == self.most:
            return
        if wants_thread(self._idle_s / passed, (used - self._used) / passed / processors()):
            self.count += 1
            self._gate.release()
        self._idle_s, self._since, self._used = 0.0, now, used
