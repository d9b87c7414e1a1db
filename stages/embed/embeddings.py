"""The embeddings of one kind of items of a corpus: missing rows into the row store, then the artifact."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.artifact import open_artifact, write_artifact
from cache.catalog import Lookup
from cache.errors import UserError
from cache.keys import KeyIndex
from cache.location import Store, location_of
from cache.row_store import RowStore
from cache.rows import RowFormat
from cache.upkeep.compaction import drop_contradictions
from pipeline.config import layout
from pipeline.config.params import FEATURES
from pipeline.monitor.device import describe, pick_device
from pipeline.monitor.disk_space import Need, check_disk_space, dvc_cache
from pipeline.monitor.events import event
from pipeline.monitor.problems import Problems
from pipeline.monitor.run_metrics import comparable, runs
from pipeline.monitor.summary import Summary
from pipeline.runner.plan import Plan
from pipeline.runner.previous_outputs import may_be_had, warm
from pipeline.runner.rows import WantedRows
from pipeline.runner.run import Runner, compute_missing
from stages.embed.encoder import ItemKind

SAMPLE = 1000
"""Rows of a store by which the length of others is estimated."""

OVERHEAD_BYTES = 64
"""Of a row, for its key, its id and checksums."""


@dataclass(frozen=True)
class Embeddings:
    """One artifact of an encoder on a corpus.

    Attributes:
        corpus: whose clips or captions.
        encoder: name of the encoder.
        modality: `clips` or `captions`.
        fingerprint: of all that decides a row.
        identity: what it was made of, see `pipeline.checkpoints.fingerprints`.
        format: of the rows.
        name: of the artifact, where an encoder has several of a modality.
    """

    corpus: str
    encoder: str
    modality: ItemKind
    fingerprint: str
    identity: Mapping[str, Any]
    format: RowFormat
    name: str = ""

    @property
    def label(self) -> str:
        """Names it in messages."""
        return f"embed {self.corpus} {self.encoder} {self.name or self.modality}"

    @property
    def out(self) -> Path:
        """Its artifact."""
        return layout.embeddings(self.corpus, self.encoder, self.name or self.modality)


def embed_rows(
    embeddings: Embeddings, rows: WantedRows, runner: Runner, problems: Problems, note: str = "", force: bool = False
) -> str:
    """Computes what is missing and writes the artifact.

    Args:
        embeddings: what is embedded.
        rows: all wanted rows, in table order.
        runner: computes rows; not used when nothing is missing.
        problems: collects failures.
        note: for the summary.
        force: begin even if the disk seems too small.

    Returns:
        The summary line.

    Raises:
        UserError: the disk is, or becomes, too small; what was computed is kept.
    """
    store = RowStore.ensure(
        Store.default().rows, embeddings.modality, embeddings.fingerprint, embeddings.format, embeddings.identity
    )
    summary = Summary(embeddings.label, note=note)
    found = store.lookup(rows.keys)
    for sentence in store.catalog.unreadable.values():
        summary.add_note(f"rows that could not be read are computed anew: {sentence}")
    rows, found = _without_contradictions(embeddings, rows, store, found, problems, summary)
    if n_missing := len(found.missing()):
        check_disk_space(needs_of(embeddings, len(rows), n_missing, store), force)
    with summary.timed("warm"):
        warm(store, embeddings.out, found, summary.add_note)
    failed = compute_missing(rows, store, runner, problems=problems, summary=summary, found=found)
    if failed.any():
        rows = rows.part(np.flatnonzero(~failed))
        found = store.lookup(rows.keys)
    with summary.timed("write"):
        description = {
            "modality": embeddings.modality,
            "encoder": embeddings.encoder.removeprefix(FEATURES),
            "fingerprint": embeddings.fingerprint,
        }
        try:
            write_artifact(embeddings.out, rows.ids, found, store, description)
        except KeyError:
            raise UserError(
                f"{len(found.missing())} rows have vanished from {store.path} while `hearonce embed` ran (has somebody "
                "dropped rows with `hearonce cache gc`?): run again."
            ) from None
    return summary.line()


def _without_contradictions(
    embeddings: Embeddings, rows: WantedRows, store: RowStore, found: Lookup, problems: Problems, summary: Summary
) -> tuple[WantedRows, Lookup]:
    """Drops rows of one key that differ by more than rounding, so that they are computed again.

    Where they cannot be dropped, because they are somebody else's, they are problems and the other rows go on.
    """
    bad = store.contradictory(found)
    if not bad.any():
        return rows, found
    try:
        dropped = drop_contradictions(store, rows.keys[bad])
    except UserError as error:
        for row in rows.part(np.flatnonzero(bad)):
            reason = "the store holds rows of this key that differ by more than rounding, and they could not be dropped"
            problems.add(row.id, row.path, f"{reason}: {error}")
        summary.wanted += int(bad.sum())
        summary.failed += int(bad.sum())
        rows = rows.part(np.flatnonzero(~bad))
        return rows, store.lookup(rows.keys)
    where = ", ".join(sorted({damage.file.split("/")[1] for damage in dropped}))
    keys = [key.hex() for damage in dropped for key in damage.keys]
    event("contradiction", logging.WARNING, stage=embeddings.label, keys=keys)
    summary.add_note(
        f"{int(bad.sum())} rows computed anew, of which {where} held copies that differ by more than rounding: "
        "`hearonce cache info` tells who made them"
    )
    return rows, found


def needs_of(embeddings: Embeddings, n_rows: int, n_missing: int, store: RowStore | None) -> list[Need]:
    """What a run will write: missing rows into the store, all rows into the artifact, and DVC's copy of that.

    Rows with frames are taken to be as long as those that the store has already; where it has none, nothing is known,
    and they count as nothing.

    Args:
        embeddings: what is embedded.
        n_rows: of the artifact.
        n_missing: that the store lacks.
        store: if there is one.
    """
    frames, what = 1.0, "rows"
    if embeddings.format.ragged:
        sample = () if store is None else store.keys()[:SAMPLE]
        frames = store.frames(sample) / len(sample) if store is not None and len(sample) else 0.0
        what = "rows" if frames else "rows without their frames (no earlier row tells how many)"
    row_bytes = embeddings.format.row_bytes * frames + OVERHEAD_BYTES
    needs = [
        Need(what, Store.default().rows, int(n_missing * row_bytes)),
        Need("embeddings", layout.DATA, int(n_rows * row_bytes)),
    ]
    cache = dvc_cache()
    return needs if cache is None else [*needs, Need("DVC's copy of them", cache, int(n_rows * row_bytes))]


def planned(
    embeddings: Embeddings, rows: WantedRows, device: str | None, cluster: str, seconds: np.ndarray | None = None
) -> Plan:
    """What a run would do; nothing is computed or written.

    Args:
        embeddings: what would be embedded.
        rows: all wanted rows.
        device: `cpu`, `cuda`, ...; a GPU if any by default.
        cluster: that would compute; empty for this process.
        seconds: of audio or video in each row, float64 (n,), where rows are of any.
    """
    location = location_of(Store.default().rows).child(f"{embeddings.modality}-{embeddings.fingerprint}")
    store = RowStore.open(str(location)) if "store.json" in location.names() else None
    absent = _in_artifact(embeddings).find(rows.keys) < 0
    if store is not None:
        absent &= store.lookup(rows.keys).rows < 0
    positions = np.flatnonzero(absent)
    missing = positions[KeyIndex([rows.keys[positions]]).first_rows()]
    device_name = "" if cluster else describe(pick_device(device))["device"]
    return Plan(
        embeddings.label,
        len(rows),
        len(rows) - len(positions),
        len(positions),
        f"cluster {cluster}" if cluster else device_name,
        media=len({row.path for row in rows.part(missing)} - {""}),
        seconds=0.0 if seconds is None else float(seconds[missing].sum()),
        runs=comparable(runs(location), device_name, cluster),
        needs=needs_of(embeddings, len(rows), len(missing), store),
    )


def _in_artifact(embeddings: Embeddings) -> KeyIndex:
    """Keys of the artifact of an earlier run, whose rows a run under DVC takes if the store lacks them."""
    try:
        artifact = open_artifact(embeddings.out)
        same = may_be_had() and artifact.description.get("fingerprint") == embeddings.fingerprint
        return KeyIndex([artifact.keys] if same else [])
    except UserError:
        return KeyIndex([])
