"""Media, a reader and a model for tests of clusters: light enough for a worker to begin in a second."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from waiting import wait_until

from cache.errors import UserError
from cache.keys import caption_key
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.media.containers import MediaError
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.rows import Row
from pipeline.runner.run import Runner, compute_missing

FORMAT = RowFormat(8)
FINGERPRINT = "cd" * 16


def rows_of(n_media: int, clips: int = 4) -> list[Row]:
    """Clips of media."""
    return [
        Row(f"m{i}-{j}", caption_key(f"clip {j} of {i}"), f"m{i}", f"m{i}.mp4")
        for i in range(n_media)
        for j in range(clips)
    ]


def note(log: Path, text: str) -> None:
    """Adds a line to a file that several processes write."""
    with log.open("a") as file:
        file.write(f"{text}\n")


@dataclass(frozen=True)
class Reader:
    """Reads an item for each row.

    Attributes:
        log: is told each medium that is read, and by which process.
        seconds: that a medium takes.
        trouble: what happens at some media: `exit` ends the process, `hog` takes a gigabyte, `fail` is an unexpected
            error, `bad` a bad file.
    """

    log: Path
    seconds: float = 0.0
    trouble: Mapping[str, str] = field(default_factory=dict)

    def part(self, rows: Sequence[Row]) -> Reader:
        return self

    def read(self, group: list[Row]) -> Iterator[tuple[Row, Any]]:
        medium = group[0].path.removesuffix(".mp4")
        note(self.log, f"{medium} {os.getpid()}")
        time.sleep(self.seconds)
        trouble = self.trouble.get(medium)
        if trouble == "exit":
            os._exit(1)
        if trouble == "hog":
            hoard = np.ones(1 << 27)  # a gigabyte
            time.sleep(20)
            del hoard
        for row in group:
            yield row, MediaError("no frame in this clip") if trouble == "bad" else (row.id, trouble == "fail")


class Tower:
    """Counts letters."""

    def prepare(self, item: Any, key: bytes) -> Any:
        return item

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        if any(fails for _, fails in batch):
            raise RuntimeError("a fault of the model")
        return np.array([[id.encode()[i % len(id)] for i in range(FORMAT.dim)] for id, _ in batch], np.float32)


@dataclass(frozen=True)
class Loader:
    """Loads the tower.

    Attributes:
        log: is told each load.
        refuse: the model cannot be loaded.
    """

    log: Path
    refuse: bool = False

    def __call__(self) -> tuple[Tower, Mapping[str, Any]]:
        note(self.log, f"load {os.getpid()}")
        if self.refuse:
            raise UserError("The checkpoint is missing.")
        return Tower(), {"device": "cpu"}


def store_in(folder: Path) -> RowStore:
    """The store that rows of these tests go into."""
    return RowStore.ensure(folder, "clips", FINGERPRINT, FORMAT)


def read_media(log: Path) -> Counter[str]:
    """How often each medium was read, and the model loaded."""
    return Counter(line.split()[0] for line in log.read_text().splitlines()) if log.exists() else Counter()


def expected(rows: Sequence[Row]) -> np.ndarray:
    """What the tower makes of rows, in one process."""
    return Tower().encode([(row.id, False) for row in rows])


def made(
    maker: Runner, rows: Sequence[Row], store: RowStore, label: str = "clips"
) -> tuple[np.ndarray, dict[str, str]]:
    """Runs the embedding stage: the rows that could be made, and why others could not, by medium."""
    problems = Problems("embed")
    failed = compute_missing(rows, store, maker, problems=problems, summary=Summary(label))
    keys = [row.key for row, bad in zip(rows, failed, strict=True) if not bad]
    return store.read(keys), {problem.path.removesuffix(".mp4"): problem.reason for problem in problems.found}


@contextmanager
def folder_with_clusters(folder: Path, **clusters: Mapping[str, Any]) -> Iterator[Path]:
    """A project's folder with nothing but clusters of these options, and the current one within the block."""
    (folder / "configs/clusters").mkdir(parents=True)
    for name, options in clusters.items():
        (folder / f"configs/clusters/{name}.yaml").write_text(json.dumps(options))
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def ended(pid: int) -> bool:
    """Waits until a process has ended; one that nobody has waited for has ended."""

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until(gone, step_s=0.05)
    return True


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Acts in a thread as soon as the condition holds."""

    def watch() -> None:
        wait_until(condition)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def variables(names: list[str]) -> list[str | None]:
    """Runs in a worker: what its environment says."""
    return [os.environ.get(name) for name in names]
