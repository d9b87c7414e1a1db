"""The one line a stage ends with: rows wanted, found, computed and failed, and where the time went."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from pipeline.stopwatch import Stopwatch


@dataclass
class Summary:
    """Counters and times of one stage run.

    Attributes:
        label: stage and what it ran on.
        wanted: rows the stage's output should have.
        found: rows that the cache had already; None where there is no cache.
        computed: rows made in this run.
        failed: rows listed in the problems table.
        note: anything else worth a word.
        stopwatch: where the time went.
    """

    label: str
    unit: str = "rows"
    wanted: int = 0
    found: int | None = None
    computed: int = 0
    failed: int = 0
    note: str = ""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    _started: float = field(default_factory=time.monotonic)

    def timed(self, part: str) -> AbstractContextManager[None]:
        """Adds the time of a block to a part (`decode`, `encode`, `write`); threads add up."""
        return self.stopwatch.timed(part)

    def count_found(self, rows: int) -> None:
        """Adds rows that the cache had."""
        self.found = (self.found or 0) + rows

    def remark(self, text: str) -> None:
        """Adds to the note."""
        self.note = f"{self.note}; {text}" if self.note else text

    def line(self) -> str:
        """The summary line."""
        parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in self.stopwatch.seconds.items())
        total = time.monotonic() - self._started
        found = "" if self.found is None else f"{self.found} found in cache, "
        return (
            f"{self.label}: {self.wanted} {self.unit} wanted, {found}{self.computed} computed, "
            f"{self.failed} failed; {parts + ', ' if parts else ''}total {total:.2f} s"
            + (f"; {self.note}" if self.note else "")
        )
