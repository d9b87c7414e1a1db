"""The resumable run of an embedding stage: plan, decode ahead, encode, commit.

It is handed what reads, what encodes and where rows go, and knows none of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cache.errors import UserError
from cache.maintenance import compact
from cache.row_store import RowStore
from pipeline.encoding import Encode
from pipeline.problems import Problems
from pipeline.progress import progress
from pipeline.reading_ahead import Waiting, in_threads, nbytes
from pipeline.summary import Summary

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
    missing: Sequence[bytes] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
) -> set[bytes]:
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
        missing: keys of the rows that the store lacks; looked up if None.
        batch_size: rows per encode call, fewer from the moment the device has run out of memory.
        workers: decoding threads; the number of processors by default.

    Returns:
        Keys of the rows that could not be computed.
    """
    absent = set(store.missing([row.key for row in rows]) if missing is None else missing)
    first: dict[bytes, Row] = {}
    for row in rows:
        if row.key in absent:
            first.setdefault(row.key, row)
    todo = list(first.values())
    summary.wanted += len(rows)
    summary.count_found(sum(row.key not in absent for row in rows))
    if not todo:
        return set()
    with summary.timed("load"):
        tower, provenance = load_tower()
    failures: dict[bytes, str] = {}
    writer = store.writer(provenance)
    encode = Encode(tower.encode, batch_size, summary.remark)
    waiting: Waiting[tuple[Row, Any]] = Waiting(batch_size)
    groups: dict[str, list[Row]] = {}
    for row in todo:
        groups.setdefault(row.group, []).append(row)

    def prepare(group: list[Row]) -> None:
        for row, item in _prepared(group, read, tower, summary):
            waiting.put((row, item), nbytes(item))
            if waiting.closed:
                break

    threads = in_threads(prepare, list(groups.values()), waiting, workers or os.cpu_count() or 1)
    with progress(summary.label, len(todo)) as advance, threads:
        try:
            while batch := waiting.take(encode.batch_size):
                results: list[tuple[Row, Any]] = [(row, item) for row, item in batch if isinstance(item, Exception)]
                whole = [(row, item) for row, item in batch if not isinstance(item, Exception)]
                if whole:
                    with summary.timed("encode"):
                        values = encode([item for _, item in whole])
                    results += [(row, value) for (row, _), value in zip(whole, values, strict=True)]
                failures |= {row.key: fault for row, result in results if (fault := _fault(result))}
                good = [(row.key, result) for row, result in results if row.key not in failures]
                if good:
                    with summary.timed("write"):
                        made = [value for _, value in good]
                        writer.add([key for key, _ in good], made if store.format.ragged else np.stack(made))
                advance(len(batch))
        finally:
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
    return set(failures)


def _prepared(group: list[Row], read: Reader, tower: Encoding, summary: Summary) -> Iterator[tuple[Row, Any]]:
    """Reads and prepares the rows of one group; an exception stands for what failed."""
    left = {row.key: row for row in group}
    try:
        items = iter(read(group))
        while True:
            with summary.timed("decode"):
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


def _fault(result: np.ndarray | Exception) -> str:
    """Why there is no row, or nothing if there is one."""
    if isinstance(result, Exception):
        return reason(result)
    return "" if np.isfinite(result).all() else "the encoder gave a value that is not finite"


def reason(error: Exception) -> str:
    """One sentence for the problems table."""
    text = " ".join(str(error).split())
    plain = type(error).__name__ in ("MediaError", "TooLarge")
    return text if plain else f"{type(error).__name__}: {text}"
