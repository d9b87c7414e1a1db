"""The resumable run: plan what is missing, have a runner compute it batch by batch, commit every batch.

A runner reads items ahead (`prefetch`), puts them into batches and encodes them (`batches`): `LocalRunner` in this
process, `DaskRunner` on a cluster. It is handed the reader and the loader of the encoder, and this run the row store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from cache.catalog import Lookup
from cache.errors import UserError
from cache.keys import KeyIndex, pack_keys
from cache.row_store import RowStore, RowWriter
from cache.upkeep.compaction import compact
from pipeline.config import layout
from pipeline.monitor.disk_space import Reserve
from pipeline.monitor.events import event
from pipeline.monitor.problems import ItemError, Problems, problem_of
from pipeline.monitor.progress import progress
from pipeline.monitor.signals import check, deferred
from pipeline.monitor.summary import Summary
from pipeline.runner.rows import Row, WantedRows

NOT_FINITE = "the encoder gave a value that is not finite"

MANY_SEGMENTS = 64
"""A store with more is compacted at the end of a run: a slow encoder commits a small segment every 30 seconds."""


class Reader(Protocol):
    """Reads items of rows; a cluster sends each worker the part that it needs."""

    def read(self, group: Sequence[Row]) -> Iterable[tuple[Row, Any]]:
        """Yields (row, item) for rows of one group; an exception stands for what failed."""

    def part(self, rows: Sequence[Row]) -> Self:
        """A reader of these rows alone."""


Read = Callable[[Sequence[Row]], Iterable[tuple[Row, Any]]]
"""`Reader.read`."""


class Tower(Protocol):
    """What a loaded tower can do; see `stages/embed/encoder.py`."""

    def prepare(self, item: Any, key: bytes) -> Any:
        """The half that runs in the reading threads."""

    def encode(self, batch: Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """The half that runs on the device: float32 (len(batch), dim), or arrays (frames, dim) for ragged rows."""


Load = Callable[[], tuple[Tower, Mapping[str, Any]]]
"""Loads the tower and describes it for the provenance of its rows."""

Result = np.ndarray | Exception
"""A row of one frame (dim,) or of several (frames, dim), or why there is none."""


class NotComputed(ItemError):
    """Why there is no row, in one sentence, where the error itself has stayed with a worker."""


@dataclass(frozen=True)
class RowBatch:
    """Some rows that have been computed.

    Attributes:
        results: each row with its value.
        provenance: device and library versions.
    """

    results: list[tuple[Row, Result]]
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Runner(Protocol):
    """Computes rows, in this process or elsewhere."""

    def run(self, rows: WantedRows, summary: Summary) -> Generator[RowBatch, None, None]:
        """Yields the rows in any order, each once, a few at a time.

        Args:
            rows: of distinct keys.
            summary: takes the seconds of each part.
        """


def compute_missing(
    rows: Sequence[Row],
    store: RowStore,
    runner: Runner,
    *,
    problems: Problems,
    summary: Summary,
    found: Lookup | None = None,
) -> np.ndarray:
    """Computes and commits the rows that the store lacks.

    Every committed batch is durable, so a run that is killed goes on where it stopped. A row that cannot be computed
    is recorded in `problems` and the run goes on.

    Args:
        rows: all wanted rows, in table order.
        store: where rows are looked up and committed.
        runner: computes rows; not used when nothing is missing.
        problems: collects failures.
        summary: counters and times.
        found: the store's answer for the keys of the rows; looked up if None.

    Returns:
        Which rows could not be computed: bool (n,).
    """
    wanted = WantedRows.of(rows)
    found = found or store.lookup(wanted.keys)
    n_absent = int(np.count_nonzero(found.rows < 0))
    summary.wanted += len(wanted)
    summary.count_found(len(wanted) - n_absent)
    if not n_absent:
        return np.zeros(len(wanted), bool)
    missing = wanted.part(found.missing())
    event("plan", label=summary.label, wanted=len(wanted), found=summary.found, missing=len(missing))
    with summary.recorded(Path(store.path)):
        failures = _compute_and_commit(missing, store, runner, summary)
    _compact(store, summary)
    if n_absent > len(missing):
        summary.add_note(f"{n_absent - len(missing)} rows the same as another")
    failed = KeyIndex([pack_keys(list(failures))]).find(found.keys) >= 0
    for row in wanted.part(np.flatnonzero(failed)):
        summary.failed += 1
        problems.add(row.id, row.path, failures[row.key])
    return failed


def _compute_and_commit(missing: WantedRows, store: RowStore, runner: Runner, summary: Summary) -> dict[bytes, str]:
    """Commits rows as they come, the last of them also when the run is stopped; why there are none, by key."""
    failures: dict[bytes, str] = {}
    writers, reserve = _Writers(store, summary), Reserve(Path(store.path), layout.DATA)
    with progress(summary.label, len(missing)) as advance, closing(runner.run(missing, summary)) as batches:
        try:
            for batch in batches:
                summary.stats.device = str(batch.provenance.get("device", ""))
                values_of = {row.key: result for row, result in batch.results if isinstance(result, np.ndarray)}
                finite = {key: value for key, value in values_of.items() if np.isfinite(value).all()}
                if finite:
                    with deferred():
                        writers.add(finite, batch.provenance)
                failures |= {key: NOT_FINITE for key in values_of if key not in finite}
                failures |= {
                    row.key: problem_of(result) for row, result in batch.results if isinstance(result, Exception)
                }
                advance(len(batch.results))
                check()
                reserve.check()
        finally:
            with deferred():
                summary.computed += writers.commit()
    return failures


class _Writers:
    """One writer for each kind of machine that computes rows.

    The log keeps rows and seconds of each commit: those of reading (`decode`), inference (`encode`) and writing.
    """

    def __init__(self, store: RowStore, summary: Summary) -> None:
        self._store, self._summary = store, summary
        self._writers: dict[str, RowWriter] = {}
        self._committed = 0
        self._seconds = dict(summary.stopwatch.seconds)

    def add(self, values_of: Mapping[bytes, np.ndarray], provenance: Mapping[str, Any]) -> None:
        """Takes rows by key, which are committed now and then."""
        name = json.dumps(provenance, sort_keys=True)
        if name not in self._writers:
            event("made by", **provenance)
            self._writers[name] = self._store.writer(provenance)
        with self._summary.timed("write"):
            values = list(values_of.values())
            self._summary.stats.nbytes += sum(value.size for value in values) * self._store.format.storage.itemsize
            self._writers[name].add(list(values_of), values if self._store.format.ragged else np.stack(values))
        self._log()

    def commit(self) -> int:
        """Makes all rows durable; how many this run has committed."""
        with self._summary.timed("write"):
            for writer in self._writers.values():
                writer.commit()
        self._log()
        return self._committed

    def _log(self) -> None:
        committed = sum(writer.committed for writer in self._writers.values())
        if committed > self._committed:
            now = dict(self._summary.stopwatch.seconds)
            seconds = {part: round(total - self._seconds.get(part, 0.0), 3) for part, total in now.items()}
            event("commit", rows=committed - self._committed, committed=committed, seconds=seconds)
            self._committed, self._seconds = committed, now


def _compact(store: RowStore, summary: Summary) -> None:
    if len(store.segments.names()) > MANY_SEGMENTS:
        try:
            with summary.timed("compact"):
                compact(store)
        except UserError as error:  # a damaged segment or a full disk; what was computed is safe
            summary.add_note(f"not compacted: {error}")
