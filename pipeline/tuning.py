"""How many rows at a time and how many reading threads: chosen from what a run measures of its first seconds."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

FIRST_BATCH, MOST_BATCH = 16, 512
GAIN = 1.05
"""By this factor a batch size has to be faster than the one tried before for the next to be tried."""

MEASURED_S, MEASURED_BATCHES = 0.25, 3
"""What a batch size is measured by at least, after a first batch that does not count."""

MOST_MEMORY = 0.45
"""Of a GPU: batches do not grow when more is in use, since twice as many rows take up to twice as much."""

WINDOW_S = 2.0
"""After so long it is decided anew whether to read in one thread more."""

IDLE, BUSY = 0.2, 0.7
"""One more is of use where the device waits for this share of the time and the processors are less busy than that."""


def processors(cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Processors that this process may use: of its affinity mask and of the share that its container was given."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = _quota(cgroups)
    return usable if share is None else max(1, min(usable, round(share)))


def _quota(cgroups: Path) -> float | None:
    """Processors that a cgroup (version 2, else 1) may use at a time."""
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            most, period = " ".join((cgroups / name).read_text() for name in names).split()
            return int(most) / int(period) if most not in ("max", "-1") else None
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None


def next_size(rates: Mapping[int, float], most: int) -> int | None:
    """The batch size to measure next: twice the largest or half the smallest while that has paid; None when done.

    Args:
        rates: what was done per second with each size measured so far, at least one; each is twice the one before.
        most: that may be tried.
    """
    sizes = sorted(rates)
    smallest, largest = sizes[0], sizes[-1]
    pays = len(sizes) == 1 or rates[largest] >= GAIN * rates[sizes[-2]]
    if pays and 2 * largest <= most:
        return 2 * largest
    small_is_fast = len(sizes) > 1 and rates[smallest] >= GAIN * rates[sizes[1]]
    unknown_below = len(sizes) == 2 and not pays
    return smallest // 2 if smallest > 1 and (small_is_fast or unknown_below) else None


class BatchSearch:
    """Finds the batch size of a run while it works; each size is tried once, so that it comes to rest.

    Attributes:
        size: to be used now.
        rates: what was done per second, by size.
        settled: whether it has been found.
    """

    def __init__(self, first: int = FIRST_BATCH, most: int = MOST_BATCH) -> None:
        self.size, self.rates, self.settled = first, dict[int, float](), False
        self._most = most
        self._lock = threading.Lock()
        self._begin(first)

    def _begin(self, size: int) -> None:
        self.size, self._batches, self._done, self._seconds = size, -1, 0.0, 0.0

    def measured(self, rows: int, work: float, seconds: float, memory: float = 0.0) -> bool:
        """Takes note of a batch; whether this has settled the size.

        Args:
            rows: of the batch; one that is not full says nothing.
            work: how much it was, in whatever unit.
            seconds: that it took.
            memory: share of the device's that is in use.
        """
        with self._lock:
            if self.settled or rows != self.size:
                return False
            self._batches += 1
            if self._batches:
                self._done, self._seconds = self._done + work, self._seconds + seconds
            if self._batches < MEASURED_BATCHES or self._seconds < MEASURED_S:
                return False
            self.rates[self.size] = self._done / self._seconds
            following = next_size(self.rates, self._most if memory < MOST_MEMORY else max(self.rates))
            self.settled = following is None
            self._begin(following or max(self.rates, key=lambda size: self.rates[size]))
            return self.settled

    def limit(self, most: int) -> None:
        """No more than so many fit into the memory: the search is over."""
        with self._lock:
            self.size, self.settled = min(self.size, most), True


def wants_reader(idle: float, busy: float) -> bool:
    """Whether one more reading thread is of use: the device waits, and reading does not wait for the processors.

    Args:
        idle: share of the time in which the device had nothing to do.
        busy: share of the processors' time that was used.
    """
    return idle > IDLE and busy < BUSY


class Readers:
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
        if wants_reader(self._idle_s / passed, (used - self._used) / passed / processors()):
            self.count += 1
            self._gate.release()
        self._idle_s, self._since, self._used = 0.0, now, used
