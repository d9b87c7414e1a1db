"""Computes rows in this process: read and prepared in threads, encoded in batches on the device."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

from pipeline.monitor.device import processors
from pipeline.monitor.summary import Stopwatch, Summary
from pipeline.runner.batches import BatchEncoder
from pipeline.runner.prefetch import BatchQueue, ReaderThreads, nbytes, prefetching
from pipeline.runner.rows import Row, WantedRows
from pipeline.runner.run import Load, Read, Result, RowBatch, Tower


class LocalRunner:
    """Computes rows in this process.

    Args:
        read: reads one group of rows; called in threads.
        load: loads the tower; called once, when there is something to do.
        batch_size: rows per encode call, fewer from the moment the device has run out of memory; what is best for
            the device by default.
        workers: reading threads; by default as many as processors, and more while that is of use.
    """

    def __init__(self, read: Read, load: Load, *, batch_size: int | None = None, workers: int | None = None) -> None:
        self._read, self._load = read, load
        self._batch_size, self._workers = batch_size, workers

    def run(self, rows: WantedRows, summary: Summary) -> Generator[RowBatch, None, None]:
        """See `Runner`."""
        with summary.timed("load"):
            tower, provenance = self._load()
        encode = BatchEncoder(tower.encode, self._batch_size, summary.add_note)
        threads = ReaderThreads(self._workers or processors(), self._workers or 2 * processors())
        for results in computed_batches(rows, self._read, tower, encode, threads, summary.stopwatch):
            yield RowBatch(results, provenance)
        if self._workers is None and threads.count > processors():
            summary.add_note(f"{threads.count} reading threads")


def computed_batches(
    rows: WantedRows, read: Read, tower: Tower, encode: BatchEncoder, threads: ReaderThreads, stopwatch: Stopwatch
) -> Iterator[list[tuple[Row, Result]]]:
    """Yields rows batch by batch; one that cannot be read is an exception and the others go on.

    Args:
        rows: to compute.
        read: reads one group of them.
        tower: prepares what was read.
        encode: computes a batch.
        threads: that read and prepare.
        stopwatch: of `decode` and `encode`.
    """
    queue: BatchQueue[tuple[Row, Any]] = BatchQueue(encode.batch_size)

    def read_group(group: WantedRows) -> None:
        with threads.reading():
            for row, item in _prepared(list(group), read, tower, stopwatch):
                queue.put((row, item), nbytes(item))
                if queue.closed:
                    break

    def next_batch() -> list[tuple[Row, Any]]:
        started = time.monotonic()
        batch = queue.take(encode.batch_size)
        threads.waited(time.monotonic() - started)
        return batch

    with prefetching(read_group, rows.by_group(), queue, threads.most):
        while batch := next_batch():
            results: list[tuple[Row, Result]] = [(row, item) for row, item in batch if isinstance(item, Exception)]
            prepared = [(row, item) for row, item in batch if not isinstance(item, Exception)]
            if prepared:
                with stopwatch.timed("encode"):
                    values = encode([item for _, item in prepared])
                results += [(row, value) for (row, _), value in zip(prepared, values, strict=True)]
            yield results
        encode.end()


def _prepared(group: list[Row], read: Read, tower: Tower, stopwatch: Stopwatch) -> Iterator[tuple[Row, Any]]:
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
