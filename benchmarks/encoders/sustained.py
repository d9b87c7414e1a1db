"""Rows per second through the run of a stage whose network is replaced by a sleep, beside what the cores can feed."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.row_store import RowStore
from pipeline.monitor.device import processors
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.local import LocalRunner
from pipeline.runner.run import compute_missing
from stages.embed.clips import Clip, Span
from stages.embed.encoder import Encoder
from stages.embed.inputs import clip_reader
from stages.embed.towers import LoadedTower

if TYPE_CHECKING:
    from benchmarks.encoders.feeding import Fed

NETWORK_S = 0.3e-3
"""What the network takes for a clip, once for each batch."""


class SleepingTower:
    """Prepares as a tower does, and sleeps instead of computing.

    Args:
        tower: that prepares.
        encoder: whose rows have which format.
    """

    def __init__(self, tower: LoadedTower, encoder: Encoder) -> None:
        self.prepare = tower.prepare
        row_format = encoder.row_format("clips")
        frames = (100,) if row_format.ragged else ()
        self._row = np.full((*frames, row_format.dim), 0.5, np.float32)

    def encode(self, batch: Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """The same row for each."""
        time.sleep(NETWORK_S * len(batch))
        rows = [self._row] * len(batch)
        return rows if self._row.ndim == 2 else np.stack(rows)


def idle_s() -> float:
    """Seconds in which a processor of this machine had nothing to do, all processors together."""
    numbers = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(numbers[4]) + int(numbers[5])) / os.sysconf("SC_CLK_TCK")


def in_plain_threads(fed: Fed, rows: int) -> float:
    """Clips per second of a thread for each processor that reads and prepares so many, without the run of a stage."""
    assert fed.encoder.clip_input is not None
    reader = clip_reader(fed.encoder.clip_input, fed.clips, fed.store)
    wanted = list(reader.rows)

    def work() -> None:
        for number in range(rows):
            row = wanted[number % len(wanted)]
            ((_, item),) = reader.read([row])
            fed.tower.prepare(item, row.key)

    threads = [threading.Thread(target=work) for _ in range(processors())]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(threads) * rows / (time.perf_counter() - began)


def sustained(fed: Fed, rows: int, cpu_ms: float) -> list[str]:
    """Rows per second, the bound, their ratio and that to plain threads, CPU ms a row, processors had and idle.

    Where none idled and the run had fewer than there are, other work took the rest.

    Args:
        fed: whose files are read again and again, each time from one sample later on, so that keys differ.
        rows: to compute.
        cpu_ms: of one thread for a clip.
    """
    clips = []
    for number in range(rows):
        turn, which = divmod(number, len(fed.clips))
        (span,) = fed.clips[which].spans
        later = Span(span.source, span.digest, turn / 48_000, span.stop_s)
        clips.append(Clip(f"{number:07d}", (later,), fed.clips[which].name))
    assert fed.encoder.clip_input is not None
    reader = clip_reader(fed.encoder.clip_input, clips, fed.store)
    tower = SleepingTower(fed.tower, fed.encoder)
    summary, problems = Summary("benchmark"), Problems("benchmark")
    with tempfile.TemporaryDirectory() as folder:
        store = RowStore.ensure(Path(folder), "clips", "0" * 32, fed.encoder.row_format("clips"))
        wall, cpu, idle = time.perf_counter(), time.process_time(), idle_s()
        runner = LocalRunner(reader.read, lambda: (tower, {}))
        compute_missing(reader.rows, store, runner, problems=problems, summary=summary)
        wall, cpu, idle = time.perf_counter() - wall, time.process_time() - cpu, idle_s() - idle
    if problems.found:
        raise SystemExit(f"{len(problems)} of {rows} clips failed: {problems.found[0].reason}")
    bound = min(1 / NETWORK_S, processors() * 1000 / cpu_ms)
    return [
        f"{rows / wall:.0f}",
        f"{bound:.0f}",
        f"{rows / wall / bound:.2f}",
        f"{rows / wall / in_plain_threads(fed, rows // processors()):.2f}",
        f"{cpu * 1000 / rows:.2f}",
        f"{cpu / wall:.2f}",
        f"{idle / wall:.2f}",
    ]
