"""Progress of a transfer, in megabytes."""

from __future__ import annotations

from contextlib import ExitStack

from pipeline.progress import Advance, progress

MEGABYTE = 1_000_000


class Meter:
    """Shows how far a transfer is; what was there before a resumption does not count into its rate.

    Args:
        label: name of the file.
    """

    def __init__(self, label: str) -> None:
        self._label, self._stack = label, ExitStack()
        self._advance: Advance | None = None
        self._start = self._shown = 0

    def at(self, done: int, total: int | None) -> None:
        """`done` of `total` bytes are there; nothing is shown as long as the total is not known."""
        if self._advance is None:
            if not total:
                return
            left = -(-(total - done) // MEGABYTE)
            label = f"{self._label} (rest)" if done else self._label
            self._advance = self._stack.enter_context(progress(label, left, "MB"))
            self._start = done
        whole = (done - self._start) // MEGABYTE if done != total else -(-(done - self._start) // MEGABYTE)
        if whole > self._shown:
            self._advance(whole - self._shown)
            self._shown = whole

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
