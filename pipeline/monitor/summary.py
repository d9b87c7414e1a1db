"""The one line a stage ends with: rows wanted, found, computed and failed, and where the time went."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.monitor.events import counters, event
from pipeline.monitor.run_metrics import Run, RunStats, keep


class Stopwatch:
    """Seconds by part (`decode`, `encode`, `write`); those of several threads, processes or machines add up.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the time of a block to a part."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.add({part: time.monotonic() - started})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds what another has measured."""
        with self._lock:
            for part, more in seconds.items():
                self.seconds[part] = self.seconds.get(part, 0.0) + more


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
        stats: how fast rows were made, by which device.
    """

    label: str
    unit: str = "rows"
    wanted: int = 0
    found: int | None = None
    computed: int = 0
    failed: int = 0
    note: str = ""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    stats: RunStats = field(default_factory=RunStats)
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        counters.append(self.to_json)

    def to_json(self) -> dict[str, Any]:
        """The counters, and where the time went."""
        counted = {name: getattr(self, name) for name in ("label", "unit", "wanted", "found", "computed", "failed")}
        seconds = {part: round(spent, 3) for part, spent in self.stopwatch.seconds.items()}
        return {**counted, "seconds": seconds, "note": self.note}

    @contextmanager
    def recorded(self, folder: Path) -> Iterator[None]:
        """Times the block and leaves a record in a folder, however it ends, if it has made anything."""
        started, before = time.monotonic(), self.computed
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.stats.seconds += time.monotonic() - started
            if made := self.computed - before:
                keep(folder, Run.of(self.label, self.stats, self.stopwatch.seconds, made, error))

    def timed(self, part: str) -> AbstractContextManager[None]:
        """Adds the time of a block to a part (`decode`, `encode`, `write`); threads add up."""
        return self.stopwatch.timed(part)

    def count_found(self, rows: int) -> None:
        """Adds rows that the cache had."""
        self.found = (self.found or 0) + rows

    def add_note(self, text: str) -> None:
        """Adds to the note, unless it says so already."""
        event("note", text=text)
        if text in self.note.split("; "):
            return
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
