"""Computes rows on the workers of a cluster: some media files are a task, the calling process commits the results."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from cache.errors import UserError
from pipeline.monitor.problems import problem_of
from pipeline.monitor.summary import Stopwatch, Summary
from pipeline.runner.batches import FIRST_BATCH, BatchEncoder
from pipeline.runner.dask.cluster import Cluster
from pipeline.runner.dask.worker import loaded_once, threads_per_task
from pipeline.runner.local import computed_batches
from pipeline.runner.prefetch import ReaderThreads
from pipeline.runner.rows import Row, WantedRows
from pipeline.runner.run import Load, NotComputed, Read, Reader, Result, RowBatch

BATCHES_PER_TASK = 4
"""A task has at least so many batches where media have few clips: enough for reading and encoding to overlap."""


@dataclass(frozen=True)
class Task:
    """What a worker is sent.

    Attributes:
        rows: to compute.
        read: reads them.
        load: loads the tower.
        tower: names what `load` loads.
        batch_size: rows per encode call; what is best for the device by default.
        workers: decoding threads; the worker's share of its machine by default.
    """

    rows: list[Row]
    read: Read
    load: Load
    tower: str
    batch_size: int | None
    workers: int | None


@dataclass(frozen=True)
class TaskResult:
    """What a worker sends back.

    Attributes:
        results: one for each row of the task.
        provenance: of the worker.
        seconds: where the time went.
        notes: for the summary.
    """

    results: list[Result]
    provenance: Mapping[str, Any]
    seconds: Mapping[str, float]
    notes: list[str]


class DaskRunner:
    """Computes rows on a cluster.

    Args:
        cluster: started when there is something to do.
        reader: reads rows; each task is sent its part of it.
        load: loads the model, once in each worker.
        batch_size: rows per encode call; what is best for the device by default.
        workers: decoding threads of a worker; its share of its machine by default.
    """

    def __init__(
        self, cluster: Cluster, reader: Reader, load: Load, *, batch_size: int | None = None, workers: int | None = None
    ) -> None:
        self._cluster, self._reader, self._load = cluster, reader, load
        self._batch_size, self._workers = batch_size, workers

    def run(self, rows: WantedRows, summary: Summary) -> Generator[RowBatch, None, None]:
        """See `Runner`. A medium that kills its workers is given up; those that shared its task are tried again."""
        from distributed.protocol.pickle import dumps

        summary.stats.cluster = self._cluster.name
        tower = hashlib.blake2b(dumps((self._load, self._batch_size)), digest_size=8).hexdigest()
        shares = divided(rows, BATCHES_PER_TASK * (self._batch_size or FIRST_BATCH))

        def packed(share: WantedRows) -> Task:
            task_rows = list(share)
            read = self._reader.part(task_rows).read
            return Task(task_rows, read, self._load, tower, self._batch_size, self._workers)

        outcomes = self._cluster.run(compute_task, lambda: next(shares, None), packed=packed, split=WantedRows.by_group)
        for share, outcome in outcomes:
            if isinstance(outcome, NotComputed):
                yield RowBatch([(row, outcome) for row in share])
                continue
            summary.stopwatch.add(outcome.seconds)
            for note in outcome.notes:
                summary.add_note(note)
            yield RowBatch(list(zip(share, outcome.results, strict=True)), outcome.provenance)


def divided(rows: WantedRows, most: int) -> Iterator[WantedRows]:
    """Divides rows into tasks: whole groups, together no more than so many rows unless one group alone has more."""
    rows, ends = rows.grouped()
    first = 0
    for last, end in pairwise([0, *ends]):
        if last > first and end - first > most:
            yield rows[first:last]
            first = last
    if len(rows):
        yield rows[first:]


def compute_task(task: Task) -> TaskResult:
    """Runs in a worker.

    Raises:
        UserError: the tower cannot be loaded there.
    """
    stopwatch = Stopwatch()
    with stopwatch.timed("load"):
        loaded: _LoadedTower = loaded_once(task.tower, lambda: _LoadedTower(task.load, task.batch_size))
    workers = task.workers or threads_per_task()
    threads = ReaderThreads(workers, workers)
    rows, results = WantedRows.of(task.rows), dict[bytes, Result]()
    for batch in computed_batches(rows, task.read, loaded.tower, loaded.encode, threads, stopwatch):
        for row, result in batch:
            results[row.key] = NotComputed(problem_of(result)) if isinstance(result, Exception) else result
    return TaskResult(
        [results[row.key] for row in task.rows], loaded.provenance, stopwatch.seconds, loaded.take_notes()
    )


class _LoadedTower:
    """A tower in a worker, with the batch size that its device has memory for."""

    def __init__(self, load: Load, batch_size: int | None) -> None:
        try:
            self.tower, self.provenance = load()
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"The model cannot be loaded on {os.uname().nodename}: {type(error).__name__}: {error}"
            ) from None
        self._notes: list[str] = []
        self._device = threading.Lock()
        self.encode = BatchEncoder(self._encode_alone, batch_size, self._notes.append)

    def _encode_alone(self, batch: Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """A worker of several threads has several tasks at a time and one device."""
        with self._device:
            return self.tower.encode(batch)

    def take_notes(self) -> list[str]:
        """Notes since the last task."""
        notes, self._notes[:] = self._notes[:], []
        return notes
