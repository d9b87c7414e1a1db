"""Computes random rows of the project's caches anew, to compare them: whether a shared store holds what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cache.catalog import same
from cache.errors import Unreadable, UserError
from cache.keys import KeyIndex
from cache.location import Store, location_of
from cache.row_store import RowStore
from pipeline.commands.cache.verify import Compared
from pipeline.config.params import load_params
from pipeline.monitor.problems import Problems, problem_of
from pipeline.monitor.summary import Summary
from pipeline.runner.local import LocalRunner
from pipeline.runner.rows import WantedRows
from pipeline.runner.run import Reader
from stages.embed.command import open_source
from stages.embed.embeddings import Embeddings
from stages.embed.inputs import Source
from stages.embed.registry import is_avlnet


@dataclass(frozen=True)
class _Cached:
    """Rows of one artifact that are cached."""

    source: Source
    embeddings: Embeddings
    reader: Reader
    rows: WantedRows
    store: RowStore


def recompute(n: int, seed: int, stores: Sequence[str]) -> list[Compared]:
    """See `pipeline.commands.cache.verify.Recompute`."""
    cached = list(_cached(stores))
    ends = np.cumsum([len(part.rows) for part in cached], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if not total:
        raise UserError(
            "No row that params.yaml asks for is cached, so there is none to compute anew: run `dvc repro` first."
        )
    drawn = np.sort(np.random.default_rng(seed).choice(total, min(n, total), replace=False))
    compared: list[Compared] = []
    for part, end in zip(cached, ends.tolist(), strict=True):
        start = end - len(part.rows)
        positions = drawn[(drawn >= start) & (drawn < end)] - start
        if len(positions):
            compared += _compared(part, part.rows.part(positions))
    return compared


def _cached(stores: Sequence[str]) -> Iterator[_Cached]:
    named = {str(location_of(path)) for path in stores}
    for entry in load_params().embeddings.values():
        try:
            source = open_source(entry.corpus, entry.encoder)
        except UserError:
            if is_avlnet(entry.encoder):
                continue  # its features are not there yet
            raise
        for embeddings in source.embeddings:
            location = location_of(Store.default().rows).child(f"{embeddings.modality}-{embeddings.fingerprint}")
            if "store.json" not in location.names() or (named and str(location) not in named):
                continue
            try:
                items = source.items(embeddings, Problems("embed"))
            except UserError:
                continue  # not ingested, or not extracted yet
            store = RowStore.open(str(location))
            there = (store.lookup(items.rows.keys).rows >= 0) & ~store.contradictory(items.rows.keys)
            if rows := items.rows.part(np.flatnonzero(there)):
                yield _Cached(source, embeddings, items.reader, rows, store)


def _compared(part: _Cached, rows: WantedRows) -> Iterator[Compared]:
    runner = LocalRunner(part.reader.read, part.source.load(part.embeddings, None, False))
    unique = rows.part(np.flatnonzero(KeyIndex([rows.keys]).first_rows()))
    corpus, encoder = part.embeddings.corpus, part.embeddings.encoder
    for batch in runner.run(unique, Summary(f"recompute {corpus} {encoder}")):
        for row, result in batch.results:
            where = (encoder, corpus, row.id, row.key.hex(), row.path, _segment(part.store, row.key))
            if isinstance(result, Exception):
                yield Compared(*where, None, False, problem_of(result))
                continue
            try:
                kept = np.asarray(part.store.read([row.key])[0])
            except Unreadable as error:
                yield Compared(*where, None, False, str(error))
                continue
            rounded = part.store.format.decode(part.store.format.encode(result))
            agrees = same(kept, rounded, part.store.format.dtype)
            yield Compared(*where, _difference(kept, rounded), agrees)


def _segment(store: RowStore, key: bytes) -> str:
    ((name, _, _),) = store.catalog.locate(store.lookup([key]).rows)
    return f"{store.path}/segments/{name}"


def _difference(kept: np.ndarray, made: np.ndarray) -> float | None:
    if kept.shape != made.shape:
        return None
    longer = max(float(np.linalg.norm(kept)), float(np.linalg.norm(made)))
    return float(np.linalg.norm(kept.astype(np.float64) - made)) / longer if longer else 0.0
