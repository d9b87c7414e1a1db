"""Batches: of the size that is fastest on the device, found from measured rates, and within its memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.monitor.device import free_memory, is_out_of_memory, memory_in_use
from pipeline.monitor.problems import ItemError, problem_of
from pipeline.runner.prefetch import nbytes

TOO_LARGE = "needs more memory than the device has, even by itself"
MOST_IN_A_ROW = 32
"""Rows of which each fails by itself, one after the other, until the fault counts as the tower's."""

BROKEN_DEVICE = ("CUDA error", "AcceleratorError")
"""What an error says after which a process can no longer use its GPU."""


class TooLarge(ItemError):
    """One row alone needs more memory than the device has."""


class BatchEncoder:
    """Calls a tower within the memory of its device.

    A batch that does not fit is halved until it does; a row that does not fit by itself is given up. Later batches are
    no larger than the largest part that fitted. Where a batch fails otherwise, its rows are tried one by one, and those
    that fail are given up, unless the tower fails at whatever it is given.

    Args:
        encode: `Tower.encode`.
        batch_size: to begin with; None to find the best, which is noted.
        note: takes a sentence at each reduction.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[Any]], Sequence[np.ndarray] | np.ndarray],
        batch_size: int | None,
        note: Callable[[str], None],
    ) -> None:
        self._search = BatchSearch() if batch_size is None else None
        self._batch_size = batch_size
        self._encode = encode
        self._note = note
        self._failed: Exception | None = None
        self._in_a_row = 0
        self._has_worked = False

    @property
    def batch_size(self) -> int:
        """Rows that may be encoded at a time."""
        return self._search.size if self._search else self._batch_size or 1

    def __call__(self, items: Sequence[Any]) -> list[np.ndarray | Exception]:
        """A row, (dim,) or (frames, dim), for each prepared item, or the error in place of one that has none.

        Raises:
            Exception: that of the tower, if it fails at all items.
        """
        begun = time.monotonic()
        try:
            values = self._attempt(items)
        except Exception as error:
            return self._one_by_one(items, error)
        if values is not None:
            self._worked()
            self._measured(items, time.monotonic() - begun)
            return list(values)
        try:
            rows, fitted = self._by_halves(items)
        except Exception as error:
            return self._one_by_one(items, error)
        reduced = min(self.batch_size, max(fitted, 1))
        if reduced < self.batch_size:
            self._note(f"out of memory with {len(items)} rows at a time, went on with {reduced}")
        if self._search:
            self._search.limit(reduced)
        self._batch_size = reduced
        return rows

    def end(self) -> None:
        """To be called when there are no more items.

        Raises:
            Exception: that of the tower, if it has failed at all items.
        """
        if self._failed is not None and not self._has_worked:
            raise self._failed

    def _worked(self) -> None:
        self._has_worked, self._in_a_row = True, 0

    def _one_by_one(self, items: Sequence[Any], error: Exception) -> list[np.ndarray | Exception]:
        """Rows of a batch that failed."""
        rows: list[np.ndarray | Exception] = []
        for item in items:
            try:
                if len(items) == 1 or _is_of_device(error):
                    raise error
                values = self._attempt([item])
                rows.append(TooLarge(TOO_LARGE) if values is None else values[0])
                self._worked()
            except Exception as failure:
                self._in_a_row += 1
                if self._in_a_row >= MOST_IN_A_ROW or _is_of_device(failure):
                    raise
                self._failed = failure
                rows.append(ItemError(f"the encoder failed: {problem_of(failure)}"))
        return rows

    def _measured(self, items: Sequence[Any], seconds: float) -> None:
        if self._search and self._search.measured(len(items), nbytes(list(items)), seconds, memory_in_use()):
            tried = ", ".join(map(str, sorted(self._search.rates)))
            self._note(f"batches of {self._search.size}, best of {tried}")

    def _by_halves(self, items: Sequence[Any]) -> tuple[list[np.ndarray | Exception], int]:
        """Rows of a batch that did not fit, and how many of them fitted at a time."""
        if len(items) == 1:
            return [TooLarge(TOO_LARGE)], 0
        rows: list[np.ndarray | Exception] = []
        most = 0
        half = -(-len(items) // 2)
        for part in (items[:half], items[half:]):
            values = self._attempt(part)
            some, fitted = self._by_halves(part) if values is None else (list(values), len(part))
            rows += some
            most = max(most, fitted)
        return rows, most

    def _attempt(self, items: Sequence[Any]) -> Sequence[np.ndarray] | np.ndarray | None:
        try:
            return self._encode(items)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        free_memory()  # not before the error is gone: its frames hold tensors
        return None


def _is_of_device(error: Exception) -> bool:
    return any(name in f"{type(error).__name__} {error}" for name in BROKEN_DEVICE)


FIRST_BATCH, MOST_BATCH = 16, 512
GAIN = 1.05
"""By this factor a batch size has to be faster than the one tried before for the next to be tried."""

MEASURED_S, MEASURED_BATCHES = 0.25, 3
"""What a batch size is measured by at least, after a first batch that does not count."""

MOST_MEMORY = 0.45
"""Of a GPU: batches do not grow when more is in use, since twice as many rows take up to twice as much."""


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
