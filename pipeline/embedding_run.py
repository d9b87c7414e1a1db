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

from cache.catalog import Lookup
from cache.errors import UserError
from cache.keys import KeyIndex, pack_keys
from cache.row_store import RowStore, RowWriter
from cache.upkeep.compaction import compact
from pipeline import layout
from pipeline.monitor.disk_space import Reserve
from pipeline.monitor.events import event
from pipeline.monitor.problems import Problems, problem_of
from pipeline.monitor.progress import progress
from pipeline.monitor.signals import check, deferred
from pipeline.monitor.summary import Summary
from pipeline.row_making import RowMaker
from pipeline.wanted_rows import Row, WantedRows

NOT_FINITE = "the encoder gave a value that is not finite"

MANY_SEGMENTS = 64
"""A store with more is compacted at the end of a run: a slow encoder commits a small segment every 30 seconds."""


def embed_missing(
    rows: Sequence[Row],
    store: RowStore,
    maker: RowMaker,
    *,
    problems: Problems,
    summary: Summary,
    found: Lookup | None = None,
) -> np.ndarray:
    """Computes and commits the rows that the store lacks.

    Every committed batch is durable, so a run that is killed goes on where it stopped. A row that cannot be made
    is recorded in `problems` and the run goes on.

    Args:
        rows: all wanted rows, in table order.
        store: where rows are looked up and committed.
        maker: computes rows; not asked when nothing is missing.
        problems: collects failures.
        summary: counters and times.
        found: the store's answer for the keys of the rows; asked for if None.

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
    todo = wanted.part(found.missing())
    event("plan", label=summary.label, wanted=len(wanted), found=summary.found, missing=len(todo))
    with summary.recorded(Path(store.path)):
        failures = _commit_made(todo, store, maker, summary)
    _compact(store, summary)
    if n_absent > len(todo):
        summary.add_note(f"{n_absent - len(todo)} rows the same as another")
    failed = KeyIndex([pack_keys(list(failures))]).find(found.keys) >= 0
    for row in wanted.part(np.flatnonzero(failed)):
        summary.failed += 1
        problems.add(row.id, row.path, failures[row.key])
    return failed


def _commit_made(todo: WantedRows, store: RowStore, maker: RowMaker, summary: Summary) -> dict[bytes, str]:
    """Commits rows as they are made, the last of them also when the run is stopped; why there are none, by key."""
    failures: dict[bytes, str] = {}
    writers, reserve = _Writers(store), Reserve(Path(store.path), layout.DATA)
    with progress(summary.label, len(todo)) as advance, closing(maker.make(todo, summary)) as batches:
        try:
            for made in batches:
                summary.stats.device = str(made.provenance.get("device", ""))
                values_of = {row.key: result for row, result in made.results if isinstance(result, np.ndarray)}
                good = {key: value for key, value in values_of.items() if np.isfinite(value).all()}
                if good:
                    with deferred(), summary.timed("write"):
                        values = list(good.values())
                        summary.stats.nbytes += sum(one.size for one in values) * store.format.storage.itemsize
                        writers.add(list(good), values if store.format.ragged else np.stack(values), made.provenance)
                failures |= {key: NOT_FINITE for key in values_of if key not in good}
                failures |= {row.key: problem_of(one) for row, one in made.results if isinstance(one, Exception)}
                advance(len(made.results))
                check()
                reserve.check()
        finally:
            with deferred(), summary.timed("write"):
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
            summary.add_note(f"not compacted: {error}")
