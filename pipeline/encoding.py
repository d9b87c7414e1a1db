"""Encodes batches: of the size that suits the device best, and smaller ones once it has run out of memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.device import free_memory, is_out_of_memory, memory_in_use
from pipeline.monitor.problems import ItemError, problem_of
from pipeline.reading_ahead import nbytes
from pipeline.tuning import BatchSearch

TOO_LARGE = "needs more memory than the device has, even by itself"
MOST_IN_A_ROW = 32
"""Rows of which each fails by itself, one after the other, until the fault counts as the tower's."""

BROKEN_DEVICE = ("CUDA error", "AcceleratorError")
"""What an error says after which a process can no longer use its GPU."""


class TooLarge(ItemError):
    """One row alone needs more memory than the device has."""


class Encode:
    """Calls a tower within the memory of its device.

    A batch that does not fit is halved until it does; a row that does not fit by itself is given up. Later batches are
    no larger than the largest part that fitted. Where a batch fails otherwise, its rows are tried one by one, and those
    that fail are given up, unless the tower fails at whatever it is given.

    Args:
        encode: `Tower.encode`.
        batch_size: to begin with; None to find the best, which `remark` is told.
        remark: told at each reduction.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[Any]], Sequence[np.ndarray] | np.ndarray],
        batch_size: int | None,
        remark: Callable[[str], None],
    ) -> None:
        self._search = BatchSearch() if batch_size is None else None
        self._batch_size = batch_size
        self._encode = encode
        self._remark = remark
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
            self._remark(f"out of memory with {len(items)} rows at a time, went on with {reduced}")
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
            except Exception as one:
                self._in_a_row += 1
                if self._in_a_row >= MOST_IN_A_ROW or _is_of_device(one):
                    raise
                self._failed = one
                rows.append(ItemError(f"the encoder failed: {problem_of(one)}"))
        return rows

    def _measured(self, items: Sequence[Any], seconds: float) -> None:
        if self._search and self._search.measured(len(items), nbytes(list(items)), seconds, memory_in_use()):
            tried = ", ".join(map(str, sorted(self._search.rates)))
            self._remark(f"batches of {self._search.size}, best of {tried}")

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
