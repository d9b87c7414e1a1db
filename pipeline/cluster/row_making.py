"""Rows made by the workers of a cluster: some media files are a task, this process commits what comes back."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from cache.errors import UserError
from pipeline.cluster.running import Cluster
from pipeline.cluster.worker import kept, threads_here
from pipeline.encoding import Encode
from pipeline.monitor.problems import problem_of
from pipeline.monitor.summary import Stopwatch, Summary
from pipeline.row_making import Load, Made, NotMade, Read, Result, computed
from pipeline.tuning import FIRST_BATCH, Readers
from pipeline.wanted_rows import Row, WantedRows

BATCHES_PER_TASK = 4
"""A task has at least so many batches where media have few clips: enough for reading and encoding to overlap."""


class Sent(Protocol):
    """A reader of which parts can be sent to workers; see `stages/embed/making.py`."""

    def part(self, rows: Sequence[Row]) -> Any:
        """A reader of these rows alone."""


@dataclass(frozen=True)
class Task:
    """What a worker is sent.

    Attributes:
        rows: to make.
        read: reads them.
        load: loads the model.
        model: names what `load` loads.
        batch_size: rows per encode call; what is best for the device by default.
        workers: decoding threads; the worker's share of its machine by default.
    """

    rows: list[Row]
    read: Read
    load: Load
    model: str
    batch_size: int | None
    workers: int | None


@dataclass(frozen=True)
class Done:
    """What a worker sends back.

    Attributes:
        results: one for each row of the task.
        provenance: of the worker.
        seconds: where the time went.
        remarks: for the summary.
    """

    results: list[Result]
    provenance: Mapping[str, Any]
    seconds: Mapping[str, float]
    remarks: list[str]


class ClusterMaker:
    """Computes rows on a cluster.

    Args:
        cluster: started when there is something to do.
        reader: reads rows; each task is sent its part of it.
        load: loads the model, once in each worker.
        batch_size: rows per encode call; what is best for the device by default.
        workers: decoding threads of a worker; its share of its machine by default.
    """

    def __init__(
        self, cluster: Cluster, reader: Sent, load: Load, *, batch_size: int | None = None, workers: int | None = None
    ) -> None:
        self._cluster, self._reader, self._load = cluster, reader, load
        self._batch_size, self._workers = batch_size, workers

    def make(self, rows: WantedRows, summary: Summary) -> Generator[Made, None, None]:
        """See `RowMaker`. A medium that kills its workers is given up; those that shared its task are tried again."""
        from distributed.protocol.pickle import dumps

        summary.stats.cluster = self._cluster.name
        model = hashlib.blake2b(dumps((self._load, self._batch_size)), digest_size=8).hexdigest()
        parts = shares(rows, BATCHES_PER_TASK * (self._batch_size or FIRST_BATCH))

        def packed(part: WantedRows) -> Task:
            some = list(part)
            return Task(some, self._reader.part(some).read, self._load, model, self._batch_size, self._workers)

        answers = self._cluster.run(make_rows, lambda: next(parts, None), packed=packed, split=WantedRows.by_group)
        for part, done in answers:
            if isinstance(done, NotMade):
                yield Made([(row, done) for row in part])
                continue
            summary.stopwatch.add(done.seconds)
            for remark in done.remarks:
                summary.add_note(remark)
            yield Made(list(zip(part, done.results, strict=True)), done.provenance)


def shares(rows: WantedRows, most: int) -> Iterator[WantedRows]:
    """Divides rows into tasks: whole groups, together no more than so many rows unless one group alone has more."""
    rows, ends = rows.grouped()
    first = 0
    for last, end in pairwise([0, *ends]):
        if last > first and end - first > most:
            yield rows[first:last]
            first = last
    if len(rows):
        yield rows[first:]


def make_rows(task: Task) -> Done:
    """Runs in a worker.

    Raises:
        UserError: the model cannot be loaded there.
    """
    stopwatch = Stopwatch()
    with stopwatch.timed("load"):
        model: _Model = kept(task.model, lambda: _Model(task.load, task.batch_size))
    workers = task.workers or threads_here()
    readers = Readers(workers, workers)
    results: dict[bytes, Result] = {}
    for batch in computed(WantedRows.of(task.rows), task.read, model.tower, model.encode, readers, stopwatch):
        for row, result in batch:
            results[row.key] = NotMade(problem_of(result)) if isinstance(result, Exception) else result
    return Done([results[row.key] for row in task.rows], model.provenance, stopwatch.seconds, model.told())


class _Model:
    """A model in a worker, with what has been learnt of the memory of its device."""

    def __init__(self, load: Load, batch_size: int | None) -> None:
        try:
            self.tower, self.provenance = load()
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"The model cannot be loaded on {os.uname().nodename}: {type(error).__name__}: {error}"
            ) from None
        self._remarks: list[str] = []
        self._device = threading.Lock()
        self.encode = Encode(self._alone, batch_size, self._remarks.append)

    def _alone(self, batch: Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """A worker of several threads has several tasks at a time and one device."""
        with self._device:
            return self.tower.encode(batch)

    def told(self) -> list[str]:
        """Remarks since the last task."""
        told = self._remarks[:]
        self._remarks.clear()
        return told
