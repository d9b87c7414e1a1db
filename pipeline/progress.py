"""A progress bar with rate and time left in a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LOG_EVERY_S = 10.0


class Advance(Protocol):
    """Called with the number of rows that are done."""

    def __call__(self, rows: int = 1) -> None:
        """Some rows are done."""


@contextmanager
def progress(label: str, total: int, unit: str = "rows") -> Iterator[Advance]:
    """Shows how far a run is, on standard error.

    Args:
        label: what runs.
        total: number of rows to do; nothing is shown for 0.
        unit: what is counted.
    """
    if total == 0:
        yield lambda rows=1: None
    elif sys.stderr.isatty():
        with _bar(label, total, unit) as advance:
            yield advance
    else:
        with _log(label, total, unit) as advance:
            yield advance


@contextmanager
def _bar(label: str, total: int, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
    ]
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, rate="")

        def advance(rows: int = 1) -> None:
            done = bar.tasks[task].completed + rows
            elapsed = max(time.monotonic() - started, 1e-6)
            bar.update(task, advance=rows, rate=f"{done / elapsed:.1f} {unit}/s")

        yield advance


@contextmanager
def _log(label: str, total: int, unit: str) -> Iterator[Advance]:
    started = last = time.monotonic()
    done = 0

    def advance(rows: int = 1) -> None:
        nonlocal done, last
        done += rows
        now = time.monotonic()
        if now - last >= LOG_EVERY_S and done < total:
            last = now
            rate = done / (now - started)
            left = (total - done) / rate
            print(f"{label}: {done}/{total} {unit}, {rate:.1f}/s, {left:.0f} s left", file=sys.stderr, flush=True)

    yield advance
