"""The resumable run of an embedding stage: plan, have the missing rows made, commit them.

It is handed what makes rows and where they go, and knows neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.maintenance import compact
from cache.row_store import RowStore
from cache.row_writer import RowWriter
from pipeline import layout
from pipeline.operations.events import event
from pipeline.operations.interruption import check, held_back
from pipeline.operations.space import Reserve
from pipeline.problems import Problems
from pipeline.progress import progress
from pipeline.row_making import Result, Row, RowMaker, reason
from pipeline.summary import Summary

MANY_SEGMENTS = 64
"""A store with more is compacted at the end of a run: a slow encoder commits a small segment every 30 seconds."""


def embed_missing(
    rows: Sequence[Row],
    store: RowStore,
    maker: RowMaker,
    *,
    problems: Problems,
    summary: Summary,
    missing: Sequence[bytes] | None = None,
) -> set[bytes]:
    """Computes and commits the rows that the store lacks.

    Every committed batch is durable, so a run that is killed goes on where it stopped. A row that cannot be made
    is recorded in `problems` and the run goes on.

    Args:
        rows: all wanted rows, in table order.
        store: where rows are looked up and committed.
        maker: computes rows; not asked when nothing is missing.
        problems: collects failures.
        summary: counters and times.
        missing: keys of the rows that the store lacks; looked up if None.

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
    event("plan", label=summary.label, wanted=len(rows), found=summary.found, missing=len(todo))
    with summary.recorded(Path(store.path)):
        failures = _commit_made(todo, store, maker, summary)
    _compact(store, summary)
    same = sum(row.key in absent for row in rows) - len(todo)
    if same:
        summary.remark(f"{same} rows the same as another")
    for row in rows:
        if row.key in failures:
            summary.failed += 1
            problems.add(row.id, row.path, failures[row.key])
    return set(failures)


def _commit_made(todo: Sequence[Row], store: RowStore, maker: RowMaker, summary: Summary) -> dict[bytes, str]:
    """Commits rows as they are made, the last of them also when the run is stopped; why there are none, by key."""
    failures: dict[bytes, str] = {}
    writers, reserve = _Writers(store), Reserve(Path(store.path), layout.DATA)
    with progress(summary.label, len(todo)) as advance, closing(maker.make(todo, summary)) as batches:
        try:
            for made in batches:
                summary.making.device = str(made.provenance.get("device", ""))
                failures |= {row.key: fault for row, result in made.results if (fault := _fault(result))}
                good = {row.key: result for row, result in made.results if isinstance(result, np.ndarray)}
                good = {key: value for key, value in good.items() if key not in failures}
                if good:
                    with held_back(), summary.timed("write"):
                        values = list(good.values())
                        summary.making.nbytes += sum(one.size for one in values) * store.format.storage.itemsize
                        writers.add(list(good), values if store.format.ragged else np.stack(values), made.provenance)
                advance(len(made.results))
                check()
                reserve.check()
        finally:
            with held_back(), summary.timed("write"):
                summary.computed += writers.commit()
    return failures


class _Writers:
    """One writer for each kind of machine that makes rows. Commits are told to the log."""

    def __init__(self, store: RowStore) -> None:
        self._store = store
        self._writers: dict[str, RowWriter] = {}

        self._told = 0

    def add(self, keys: Sequence[bytes], values: Any, provenance: Mapping[str, Any]) -> None:
        """Takes rows, which are committed now and then."""
        name = json.dumps(provenance, sort_keys=True)
        if name not in self._writers:
            event("made by", **provenance)
            self._writers[name] = self._store.writer(provenance)
        self._writers[name].add(keys, values)
        self._tell()

    def commit(self) -> int:
        """Makes all rows durable; how many this run has committed."""
        for writer in self._writers.values():
            writer.commit()
        self._tell()
        return self._told

    def _tell(self) -> None:
        committed = sum(writer.committed for writer in self._writers.values())
        if committed > self._told:
            event("commit", rows=committed - self._told, committed=committed)
        self._told = committed


def _compact(store: RowStore, summary: Summary) -> None:
    if len(store.segments.names()) > MANY_SEGMENTS:
        try:
            with summary.timed("compact"):
                compact(store)
        except UserError as error:  # a damaged segment or a full disk; what was computed is safe
            summary.remark(f"not compacted: {error}")


def _fault(result: Result) -> str:
    """Why there is no row, or nothing if there is one."""
    if isinstance(result, Exception):
        return reason(result)
    return "" if np.isfinite(result).all() else "the encoder gave a value that is not finite"
