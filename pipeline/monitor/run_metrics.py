"""How fast rows were made: one record a run beside the rows, from which the time of the next run is estimated.

The file lies in the row store's folder (`runs.jsonl`), or in that of extracted audio, and holds a line for each run
that made anything. Losing it costs no more than an estimate.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cache.durable import share
from cache.errors import UserError
from cache.location import Location

RUNS_FILE = "runs.jsonl"
LAST = 5
"""Runs that an estimate is made from."""


@dataclass
class RunStats:
    """What a run learns about the speed at which it makes things.

    Attributes:
        seconds: from the first to the last, models being loaded included.
        device: that computes.
        cluster: it belongs to; empty for this machine.
        amount: in what the time is estimated by, where things differ much: seconds of audio.
        nbytes: written.
    """

    seconds: float = 0.0
    device: str = ""
    cluster: str = ""
    amount: float = 0.0
    nbytes: int = 0


@dataclass(frozen=True)
class Run:
    """One line of the file.

    Attributes:
        at: when it ended, UTC.
        what: stage, corpus, encoder.
        machine: that it ran on.
        device: that computed.
        cluster: that it belongs to; empty for the machine itself.
        made: rows, or files.
        amount: see `RunStats`.
        nbytes: see `RunStats`.
        seconds: from the first to the last row, without loading the model.
        parts: seconds of `load`, `decode`, `encode`, `write`, ...; those of threads and workers add up.
        busy: share of `seconds` in which the device encoded; None on a cluster, where devices add up,
            and where nothing is encoded.
        peak_rss_bytes: of the process.
        ended: `done`, or how else.
    """

    at: str
    what: str
    machine: str
    device: str
    cluster: str
    made: int
    amount: float
    nbytes: int
    seconds: float
    parts: dict[str, float] = field(default_factory=dict)
    busy: float | None = None
    peak_rss_bytes: int = 0
    ended: str = "done"

    @classmethod
    def of(cls, what: str, stats: RunStats, parts: Mapping[str, float], made: int, error: BaseException | None) -> Run:
        """The record of a run that ends now."""
        loading = 0.0 if stats.cluster else parts.get("load", 0.0)  # of workers it adds up
        seconds = max(stats.seconds - loading, 1e-6)
        return cls(
            at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            what=what,
            machine=platform.node(),
            device=stats.device,
            cluster=stats.cluster,
            made=made,
            amount=round(stats.amount, 3),
            nbytes=stats.nbytes,
            seconds=round(seconds, 6),
            parts={part: round(spent, 3) for part, spent in parts.items()},
            busy=None
            if stats.cluster or "encode" not in parts
            else round(min(1.0, parts.get("encode", 0.0) / seconds), 3),
            peak_rss_bytes=peak_rss_bytes(),
            ended="done" if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed",
        )

    @property
    def per_s(self) -> float:
        """Rows or files a second."""
        return self.made / self.seconds


def peak_rss_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def keep(folder: Path, run: Run) -> None:
    """Appends a record, in one write, so that several processes may; a disk that refuses is no reason to fail."""
    with suppress(OSError):
        descriptor = os.open(folder / RUNS_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, json.dumps(asdict(run)).encode() + b"\n")
            share(folder / RUNS_FILE)
        finally:
            os.close(descriptor)


def runs(location: Location) -> list[Run]:
    """The records of a store, oldest first; lines that cannot be read are left out."""
    try:
        lines = location.read(RUNS_FILE).splitlines()
    except (OSError, UserError):
        return []
    return [run for line in lines if (run := _read(line)) is not None]


def _read(line: bytes) -> Run | None:
    try:
        found: dict[str, Any] = json.loads(line)
        return Run(**{field.name: found[field.name] for field in fields(Run)})
    except (ValueError, KeyError, TypeError):
        return None


def comparable(found: Iterable[Run], device: str, cluster: str) -> list[Run]:
    """The last runs that made something on such a device, on this machine if there are any, or on that cluster."""
    same = [run for run in found if run.made and run.cluster == cluster and (cluster or run.device == device)]
    here = [run for run in same if run.machine == platform.node()]
    return (here or same)[-LAST:]
