"""A progress bar with rate and time left in a terminal, a plain line now and then elsewhere and in the run's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Protocol

from pipeline.console.text import visible, visible_streams
from pipeline.monitor.events import event

LOG_EVERY_S = 10.0

MEGABYTE = 1_000_000


class Advance(Protocol):
    """Called with the number of rows that are done."""

    def __call__(self, rows: int = 1) -> None:
        """Some rows are done."""


@contextmanager
def progress(label: str, total: int, unit: str = "rows") -> Iterator[Advance]:
    """Shows how far a run is, on standard error.

    Args:
        label: what runs.
        total: number of rows to do; nothing is printed for 0.
        unit: what is counted.
    """
    if total == 0:
        yield lambda rows=1: None
        return
    with _bar(label, total, unit) if sys.stderr.isatty() else nullcontext() as bar:
        started = last = time.monotonic()
        done = 0

        def advance(rows: int = 1) -> None:
            nonlocal done, last
            done += rows
            now = time.monotonic()
            rate = done / max(now - started, 1e-6)
            if bar is not None:
                bar(done, rate)
            if now - last < LOG_EVERY_S or done >= total:
                return
            last = now
            event("progress", label=label, done=done, total=total, unit=unit, per_s=round(rate, 3))
            if bar is None:
                left = f"{(total - done) / rate:.0f} s left"
                print(f"{label}: {done}/{total} {unit}, {rate:.1f}/s, {left}", file=sys.stderr, flush=True)

        yield advance


@contextmanager
def _bar(label: str, total: int, unit: str) -> Iterator[Callable[[int, float], None]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
    ]
    with Progress(*columns, console=Console(stderr=True)) as bar, visible_streams():  # its streams obey colours
        task = bar.add_task(escape(visible(label)), total=total, rate="")
        yield lambda done, rate: bar.update(task, completed=done, rate=f"{rate:.1f} {unit}/s")


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
        """`done` of `total` bytes are there; nothing is printed as long as the total is not known."""
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
