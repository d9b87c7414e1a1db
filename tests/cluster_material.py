"""Media, a reader and a model for tests of clusters: light enough for a worker to begin in a second."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.keys import caption_key
from cache.row_format import RowFormat
from cache.row_store import RowStore
from pipeline.media.errors import MediaError
from pipeline.wanted_rows import Row

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
        trouble: what happens at some media: `exit` ends the process, `fail` is an unexpected error, `bad` a bad file.
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
        for row in group:
            yield row, MediaError("no picture in this clip") if trouble == "bad" else (row.id, trouble == "fail")


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
