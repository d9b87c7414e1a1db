"""What `--dry-run` says: what is missing, how long it takes by the speed of earlier runs, what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from pipeline.monitor.disk_space import Need, disk_spaces
from pipeline.monitor.run_metrics import Run


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        label: stage and what it runs on.
        wanted: rows, or files, that the output should have.
        present: those that an earlier run has made.
        missing: those to make.
        where: what makes them: a device, or a cluster.
        unit: what is counted.
        media: files to open.
        seconds: of audio or video in what is missing.
        runs: earlier ones on the same device; see `metrics.comparable`.
        by_seconds: the time is estimated by the seconds of audio rather than by the count.
        needs: what will be written.
    """

    label: str
    wanted: int
    present: int
    missing: int
    where: str
    unit: str = "rows"
    media: int = 0
    seconds: float = 0.0
    runs: Sequence[Run] = ()
    by_seconds: bool = False
    needs: Sequence[Need] = ()

    def __str__(self) -> str:
        lines = [f"{self.label}: {self.wanted} {self.unit} wanted, {self.present} present, {self.missing} to compute"]
        if self.missing and self.media:
            length = f" with {_clock(self.seconds)} of them to go through" if self.seconds else ""
            lines[0] += f", from {self.media} media{length}"
        lines.append(f"time: {self._time()}")
        for space in disk_spaces(self.needs):
            lines.append(f"disk: {space}{'' if space.enough else '; NOT ENOUGH'}")
        return "\n  ".join(lines)

    def _time(self) -> str:
        if not self.missing:
            return "nothing to compute"
        if not self.runs:
            return f"no earlier run on {self.where} to estimate it by"
        done = sum(run.amount if self.by_seconds else run.made for run in self.runs)
        per_s = done / sum(run.seconds for run in self.runs)
        load_s = max(0.0 if run.cluster else run.parts.get("load", 0.0) for run in self.runs)
        if not per_s:
            return f"no earlier run on {self.where} to estimate it by"
        seconds = (self.seconds if self.by_seconds else self.missing) / per_s + load_s
        rate = f"{per_s:.1f} s of audio a second" if self.by_seconds else f"{per_s:.1f} {self.unit} a second"
        last = self.runs[-1]
        begun = f", and {load_s:.1f} s to load the model" if load_s else ""
        runs = f"the last {len(self.runs)} runs" if len(self.runs) > 1 else "one run"
        return f"about {_clock(seconds)}, by {rate} on {self.where}{begun} ({runs}, until {last.at})"


def _clock(seconds: float) -> str:
    """`0:01:35`; tenths where it is short."""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
