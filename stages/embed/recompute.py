"""Computes random rows of the project's caches anew, to compare them: whether a shared store holds what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cache import tables as schemas
from cache.catalog import same
from cache.errors import Unreadable, UserError
from cache.keys import KeyIndex, caption_keys
from cache.location import Store, location_of
from cache.row_store import RowStore
from pipeline import layout
from pipeline.commands.cache.verify import Compared
from pipeline.config.corpus import load_corpus
from pipeline.config.params import corpus_place, load_params
from pipeline.corpus_tables import read_extended
from pipeline.fingerprints import fingerprint_of
from pipeline.media.audio_store import AudioStore
from pipeline.monitor.problems import problem_of
from pipeline.monitor.summary import Summary
from pipeline.row_making import LocalMaker
from pipeline.wanted_rows import WantedRows
from stages.embed.clip_reader import SOUND, clip_reader, modality_of
from stages.embed.clips import clips_of
from stages.embed.encoder import Encoder, Modality
from stages.embed.loading import identity_of
from stages.embed.making import CaptionReader, Reader, TowerLoader
from stages.embed.registry import load_encoder


@dataclass(frozen=True)
class _Cached:
    """Rows of one corpus and tower that are cached."""

    corpus: str
    encoder: str
    model: Encoder
    modality: Modality
    fingerprint: str
    reader: Reader
    rows: WantedRows
    store: RowStore | None


def recompute(n: int, seed: int, stores: Sequence[str]) -> list[Compared]:
    """See `pipeline.commands.cache.verify.Recompute`."""
    sides = list(_cached(stores))
    ends = np.cumsum([len(side.rows) for side in sides], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if not total:
        raise UserError(
            "No row that params.yaml asks for is cached, so there is none to compute anew: run `dvc repro` first."
        )
    drawn = np.sort(np.random.default_rng(seed).choice(total, min(n, total), replace=False))
    found: list[Compared] = []
    for side, end in zip(sides, ends.tolist(), strict=True):
        local = drawn[(drawn >= end - len(side.rows)) & (drawn < end)] - (end - len(side.rows))
        if len(local):
            found += _compared(side, side.rows.part(local))
    return found


def _cached(stores: Sequence[str]) -> Iterator[_Cached]:
    named = {str(location_of(path)) for path in stores}
    for embedding in load_params().embeddings.values():
        model = load_encoder(embedding.encoder)
        for modality in model.sides:
            if not layout.table(embedding.corpus, modality).exists():
                continue
            try:
                reader, rows = _rows(embedding.corpus, model, modality)
            except UserError:
                continue  # not ingested, or not extracted yet
            fingerprint, _ = fingerprint_of(identity_of(model, modality))
            place = location_of(Store.default().rows).child(f"{modality}-{fingerprint}")
            store = RowStore.open(str(place)) if "store.json" in place.names() else None
            if named and str(place) not in named:
                continue
            there = np.zeros(len(rows), bool)
            if store is not None:
                there = (store.lookup(rows.keys).rows >= 0) & ~store.contradictory(rows.keys)
            if rows := rows.part(np.flatnonzero(there)):
                yield _Cached(embedding.corpus, embedding.encoder, model, modality, fingerprint, reader, rows, store)


def _rows(corpus: str, model: Encoder, modality: Modality) -> tuple[Reader, WantedRows]:
    if modality == "captions":
        table = read_extended(corpus, "captions")
        keys, nothing = caption_keys(table["text"]), pl.repeat("", len(table), eager=True)
        rows = WantedRows(table["caption_id"], keys, np.arange(len(table)) // 1024, nothing)
        return CaptionReader(keys, table["text"]), rows
    kind = modality_of(model.clip_input)
    spans = schemas.read_table(layout.table(corpus, "spans"), schemas.SPANS, pl.col("modality") == kind)
    if kind == SOUND:
        usable = schemas.read_table(layout.audio(corpus), schemas.AUDIO)["media_id"]
    else:
        usable = schemas.read_table(layout.table(corpus, "media"), schemas.MEDIA).filter("has_video")["media_id"]
    without = spans.filter(~pl.col("media_id").is_in(usable.implode()))["clip_id"].unique()
    clips = clips_of(spans.filter(~pl.col("clip_id").is_in(without.implode())), corpus_place(corpus).media)
    reader = clip_reader(model.clip_input, clips, AudioStore(Store.default(), load_corpus(corpus).audio))
    return reader, reader.rows


def _compared(side: _Cached, rows: WantedRows) -> Iterator[Compared]:
    load = TowerLoader(side.model, side.modality, side.fingerprint, None, False)
    maker = LocalMaker(side.reader.read, load)
    unique = rows.part(np.flatnonzero(KeyIndex([rows.keys]).first_rows()))
    for made in maker.make(unique, Summary(f"recompute {side.corpus} {side.encoder}")):
        for row, result in made.results:
            where = (side.encoder, side.corpus, row.id, row.key.hex(), row.path, _segment(side, row.key))
            if isinstance(result, Exception):
                yield Compared(*where, None, False, problem_of(result))
                continue
            assert side.store is not None
            try:
                kept = np.asarray(side.store.read([row.key])[0])
            except Unreadable as error:
                yield Compared(*where, None, False, str(error))
                continue
            rounded = side.store.format.decode(side.store.format.encode(result))
            agrees = same(kept, rounded, side.store.format.dtype)
            yield Compared(*where, _difference(kept, rounded), agrees)


def _segment(side: _Cached, key: bytes) -> str:
    assert side.store is not None
    ((name, _, _),) = side.store.catalog.locate(side.store.lookup([key]).rows)
    return f"{side.store.path}/segments/{name}"


def _difference(kept: np.ndarray, made: np.ndarray) -> float | None:
    if kept.shape != made.shape:
        return None
    longer = max(float(np.linalg.norm(kept)), float(np.linalg.norm(made)))
    return float(np.linalg.norm(kept.astype(np.float64) - made)) / longer if longer else 0.0
