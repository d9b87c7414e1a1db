"""The resumable run of an embedding stage: plan, decode ahead, encode, commit.

It is handed what reads, what encodes and where rows go, and knows none of them.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cache.errors import UserError
from cache.maintenance import compact
from cache.row_store import RowStore
from pipeline.problems import Problems
from pipeline.progress import progress
from pipeline.summary import Summary

ITEMS_AHEAD_PER_WORKER = 8
MANY_SEGMENTS = 64
"""A store with more is compacted at the end of a run: a slow encoder commits a small segment every 30 seconds."""


@dataclass(frozen=True)
class Row:
    """One wanted embedding.

    Attributes:
        id: clip or caption id.
        key: row key, 16 bytes.
        group: rows of one group are read together (a media file is opened once).
        path: file to name in a problem.
    """

    id: str
    key: bytes
    group: str
    path: str


class Encoding(Protocol):
    """What a loaded tower can do; see `stages/embed/encoder.py`."""

    def prepare(self, item: Any, key: bytes) -> Any:
        """The half that runs in the reading threads."""

    def encode(self, batch: Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """The half that runs on the device: float32 (len(batch), dim), or arrays (frames, dim) for ragged rows."""


Reader = Callable[[list[Row]], Iterable[tuple[Row, Any]]]
"""Reads the items of one group of rows; an item may be an exception that says why it could not be read."""


def embed_missing(
    rows: Sequence[Row],
    store: RowStore,
    read: Reader,
    load_tower: Callable[[], tuple[Encoding, Mapping[str, Any]]],
    *,
    problems: Problems,
    summary: Summary,
    batch_size: int = 16,
    workers: int | None = None,
) -> None:
    """Computes and commits the rows that the store lacks.

    Every committed batch is durable, so a run that is killed goes on where it stopped. A row that cannot be read
    is recorded in `problems` and the run goes on.

    Args:
        rows: all wanted rows, in table order.
        store: where rows are looked up and committed.
        read: reads one group of rows; called in worker threads.
        load_tower: loads the model and describes it for the provenance of the rows; not called when nothing is
            missing.
        problems: collects failures.
        summary: counters and times.
        batch_size: rows per encode call.
        workers: decoding threads; the number of processors by default.
    """
    absent = set(store.missing([row.key for row in rows]))
    first: dict[bytes, Row] = {}
    for row in rows:
        if row.key in absent:
            first.setdefault(row.key, row)
    todo = list(first.values())
    summary.wanted += len(rows)
    summary.found += sum(row.key not in absent for row in rows)
    if not todo:
        return
    with summary.timed("load"):
        tower, provenance = load_tower()
    workers = workers or os.cpu_count() or 1
    failures: dict[bytes, str] = {}
    writer = store.writer(provenance)
    with progress(summary.label, len(todo)) as advance:
        prepared = _prepared(todo, read, tower, summary, workers)
        try:
            for batch in _batches(prepared, batch_size, failures, advance):
                with summary.timed("encode"):
                    values = tower.encode([item for _, item in batch])
                good = []
                for (row, _), value in zip(batch, values, strict=True):
                    if np.isfinite(value).all():
                        good.append((row.key, value))
                    else:
                        failures[row.key] = "the encoder gave a value that is not finite"
                if good:
                    with summary.timed("write"):
                        rows_together = [value for _, value in good]
                        writer.add(
                            [key for key, _ in good], rows_together if store.format.ragged else np.stack(rows_together)
                        )
                advance(len(batch))
        finally:
            prepared.close()
            with summary.timed("write"):
                writer.commit()
    summary.computed += writer.committed
    if len(store.segments.names()) > MANY_SEGMENTS:
        try:
            with summary.timed("compact"):
                compact(store)
        except UserError as error:  # a damaged segment or a full disk; what was computed is safe
            summary.remark(f"not compacted: {error}")
    same = sum(row.key in absent for row in rows) - len(todo)
    if same:
        summary.remark(f"{same} rows the same as another")
    for row in rows:
        if row.key in failures:
            summary.failed += 1
            problems.add(row.id, row.path, failures[row.key])


def _batches(
    prepared: Iterable[tuple[Row, Any]], batch_size: int, failures: dict[bytes, str], advance: Callable[[int], None]
) -> Iterator[list[tuple[Row, Any]]]:
    batch: list[tuple[Row, Any]] = []
    for row, item in prepared:
        if isinstance(item, Exception):
            failures[row.key] = reason(item)
            advance(1)
            continue
        batch.append((row, item))
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def reason(error: Exception) -> str:
    """One sentence for the problems table."""
    text = " ".join(str(error).split())
    return text if type(error).__name__ == "MediaError" else f"{type(error).__name__}: {text}"


def _prepared(
    todo: list[Row], read: Reader, tower: Encoding, summary: Summary, workers: int
) -> Generator[tuple[Row, Any], None, None]:
    """Reads and prepares groups in threads, a bounded number of items ahead of the consumer."""
    groups: dict[str, list[Row]] = {}
    for row in todo:
        groups.setdefault(row.group, []).append(row)
    ahead: queue.Queue[tuple[Row, Any] | None] = queue.Queue(ITEMS_AHEAD_PER_WORKER * workers)
    stopped = threading.Event()

    def hand_over(entry: tuple[Row, Any] | None) -> None:
        while not stopped.is_set():
            try:
                return ahead.put(entry, timeout=0.2)
            except queue.Full:
                continue

    def work(group: list[Row]) -> None:
        left = {row.key: row for row in group}
        items = iter(read(group))
        try:
            while not stopped.is_set():
                with summary.timed("decode"):
                    entry = next(items, None)
                    if entry is None:
                        break
                    row, item = entry
                    if not isinstance(item, Exception):
                        try:
                            item = tower.prepare(item, row.key)
                        except Exception as error:  # one clip must not stop the run
                            item = error
                left.pop(row.key, None)
                hand_over((row, item))
        except Exception as error:  # nor one file
            for row in left.values():
                hand_over((row, error))

    def produce() -> None:
        with ThreadPoolExecutor(workers, "decode") as pool:
            pending = [pool.submit(work, group) for group in groups.values()]
            for future in pending:
                future.result()
        hand_over(None)

    producer = threading.Thread(target=produce, name="decode-all", daemon=True)
    producer.start()
    try:
        while (entry := ahead.get()) is not None:
            yield entry
    finally:
        stopped.set()
        producer.join()
