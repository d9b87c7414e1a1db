"""Rows out of items, on this machine: read and prepared in threads, encoded in batches on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pipeline.encoding import Encode
from pipeline.monitor.problems import ItemError
from pipeline.monitor.summary import Stopwatch, Summary
from pipeline.reading_ahead import Waiting, in_threads, nbytes
from pipeline.tuning import Readers, processors
from pipeline.wanted_rows import Row, WantedRows


class Encoding(Protocol):
    """What a loaded tower can do; see `stages/embed/encoder.py`."""

    def prepare(self, item: Any, key: bytes) -> Any:
        """The half that runs in the reading threads."""

    def encode(self, batch: Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """The half that runs on the device: float32 (len(batch), dim), or arrays (frames, dim) for ragged rows."""


Read = Callable[[Sequence[Row]], Iterable[tuple[Row, Any]]]
"""Reads the items of one group of rows; an item may be an exception that says why it could not be read."""

Load = Callable[[], tuple[Encoding, Mapping[str, Any]]]
"""Loads the model and describes it for the provenance of its rows."""

Result = np.ndarray | Exception
"""A row of one frame (dim,) or of several (frames, dim), or why there is none."""


class NotMade(ItemError):
    """Why there is no row, in one sentence, where the error itself has stayed with a worker."""


@dataclass(frozen=True)
class Made:
    """Some rows that have been computed.

    Attributes:
        results: each row with its value.
        provenance: device and library versions.
    """

    results: list[tuple[Row, Result]]
    provenance: Mapping[str, Any] = field(default_factory=dict)


class RowMaker(Protocol):
    """Computes rows, here or elsewhere."""

    def make(self, rows: WantedRows, summary: Summary) -> Generator[Made, None, None]:
        """Yields the rows in any order, each once, a few at a time.

        Args:
            rows: of distinct keys.
            summary: is told where the time went.
        """


class LocalMaker:
    """Computes rows in this process.

    Args:
        read: reads one group of rows; called in worker threads.
        load: loads the model; called once, when there is something to do.
        batch_size: rows per encode call, fewer from the moment the device has run out of memory; what is best for
            the device by default.
        workers: reading threads; by default as many as processors, and more while that is of use.
    """

    def __init__(self, read: Read, load: Load, *, batch_size: int | None = None, workers: int | None = None) -> None:
        self._read, self._load = read, load
        self._batch_size, self._workers = batch_size, workers

    def make(self, rows: WantedRows, summary: Summary) -> Generator[Made, None, None]:
        """See `RowMaker`."""
        with summary.timed("load"):
            tower, provenance = self._load()
        encode = Encode(tower.encode, self._batch_size, summary.add_note)
        readers = Readers(self._workers or processors(), self._workers or 2 * processors())
        for results in computed(rows, self._read, tower, encode, readers, summary.stopwatch):
            yield Made(results, provenance)
        if self._workers is None and readers.count > processors():
            summary.add_note(f"{readers.count} reading threads")


def computed(
    rows: WantedRows, read: Read, tower: Encoding, encode: Encode, readers: Readers, stopwatch: Stopwatch
) -> Iterator[list[tuple[Row, Result]]]:
    """Yields rows batch by batch; one that cannot be read is an exception and the others go on.

    Args:
        rows: to compute.
        read: reads one group of them.
        tower: prepares what was read.
        encode: computes a batch.
        readers: threads that read and prepare.
        stopwatch: of `decode` and `encode`.
    """
    waiting: Waiting[tuple[Row, Any]] = Waiting(encode.batch_size)

    def prepare(group: WantedRows) -> None:
        with readers.reading():
            for row, item in _prepared(list(group), read, tower, stopwatch):
                waiting.put((row, item), nbytes(item))
                if waiting.closed:
                    break

    def next_batch() -> list[tuple[Row, Any]]:
        begun = time.monotonic()
        batch = waiting.take(encode.batch_size)
        readers.waited(time.monotonic() - begun)
        return batch

    with in_threads(prepare, rows.by_group(), waiting, readers.most):
        while batch := next_batch():
            results: list[tuple[Row, Result]] = [(row, item) for row, item in batch if isinstance(item, Exception)]
            whole = [(row, item) for row, item in batch if not isinstance(item, Exception)]
            if whole:
                with stopwatch.timed("encode"):
                    values = encode([item for _, item in whole])
                results += [(row, value) for (row, _), value in zip(whole, values, strict=True)]
            yield results
        encode.end()


def _prepared(group: list[Row], read: Read, tower: Encoding, stopwatch: Stopwatch) -> Iterator[tuple[Row, Any]]:
    """Reads and prepares the rows of one group; an exception stands for what failed."""
    left = {row.key: row for row in group}
    try:
        items = iter(read(group))
        while True:
            with stopwatch.timed("decode"):
                entry = next(items, None)
                if entry is None:
                    return
                row, item = entry
                if not isinstance(item, Exception):
                    try:
                        item = tower.prepare(item, row.key)
                    except Exception as error:  # one clip must not stop the run
                        item = error
            left.pop(row.key, None)
            yield row, item
    except Exception as error:  # nor one file
        for row in left.values():
            yield row, error
