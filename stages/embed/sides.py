"""One side of an encoder on a corpus: missing rows into the row store, then the artifact."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.artifact import write_artifact
from cache.catalog import Lookup
from cache.errors import UserError
from cache.location import Store
from cache.row_store import RowStore
from cache.rows import RowFormat
from cache.upkeep.compaction import drop_contradictions
from pipeline import layout
from pipeline.embedding_run import embed_missing
from pipeline.monitor.disk_space import Need, check_disk_space, dvc_cache
from pipeline.monitor.events import event
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.previous_artifact import warm
from pipeline.row_making import RowMaker
from pipeline.wanted_rows import WantedRows
from stages.embed.encoder import Modality

SAMPLE = 1000
"""Rows of a store by which the length of others is estimated."""

OVERHEAD_BYTES = 64
"""Of a row, for its key, its id and checksums."""


@dataclass(frozen=True)
class Side:
    """What is embedded.

    Attributes:
        corpus: whose clips or captions.
        encoder: name of the encoder.
        modality: `clips` or `captions`.
        fingerprint: of all that decides a row.
        identity: what it was made of, see `pipeline.fingerprints`.
        format: of the rows.
        name: of the artifact, where an encoder has several sides of a modality.
    """

    corpus: str
    encoder: str
    modality: Modality
    fingerprint: str
    identity: Mapping[str, Any]
    format: RowFormat
    name: str = ""

    @property
    def stage(self) -> str:
        """Which computes it."""
        return f"embed_{self.name or self.modality}"

    @property
    def label(self) -> str:
        """Names it to people."""
        return f"{self.stage} {self.corpus} {self.encoder}"

    @property
    def out(self) -> Path:
        """Its artifact."""
        return layout.embeddings(self.corpus, self.encoder, self.name or self.modality)


def embed_side(
    side: Side, rows: WantedRows, maker: RowMaker, problems: Problems, note: str = "", force: bool = False
) -> str:
    """Computes what is missing and writes the artifact.

    Args:
        side: what is embedded.
        rows: all wanted rows, in table order.
        maker: computes rows; not asked when nothing is missing.
        problems: collects failures.
        note: for the summary.
        force: begin even if the disk seems too small.

    Returns:
        The summary line.

    Raises:
        UserError: the disk is, or becomes, too small; what was computed is kept.
    """
    store = RowStore.ensure(Store.default().rows, side.modality, side.fingerprint, side.format, side.identity)
    summary = Summary(side.label, note=note)
    found = store.lookup(rows.keys)
    for sentence in store.catalog.unreadable.values():
        summary.add_note(f"rows that could not be read are computed anew: {sentence}")
    rows, found = _without_contradictions(side, rows, store, found, problems, summary)
    if n_missing := len(found.missing()):
        check_disk_space(needs_of(side, len(rows), n_missing, store), force)
    with summary.timed("warm"):
        warm(store, side.out, found, summary.add_note)
    failed = embed_missing(rows, store, maker, problems=problems, summary=summary, found=found)
    if failed.any():
        rows = rows.part(np.flatnonzero(~failed))
        found = store.lookup(rows.keys)
    with summary.timed("write"):
        description = {"modality": side.modality, "encoder": side.encoder, "fingerprint": side.fingerprint}
        try:
            write_artifact(side.out, rows.ids, found, store, description)
        except KeyError:
            raise UserError(
                f"{len(found.missing())} rows have vanished from {store.path} while {side.stage} ran (has somebody "
                "dropped rows with `hearonce cache gc`?): run again."
            ) from None
    return summary.line()


def _without_contradictions(
    side: Side, rows: WantedRows, store: RowStore, found: Lookup, problems: Problems, summary: Summary
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
    event("contradiction", logging.WARNING, stage=side.label, keys=[key.hex() for one in dropped for key in one.keys])
    summary.add_note(
        f"{int(bad.sum())} rows computed anew, of which {where} held copies that differ by more than rounding: "
        "`hearonce cache info` tells who made them"
    )
    return rows, found


def needs_of(side: Side, n_rows: int, n_missing: int, store: RowStore | None) -> list[Need]:
    """What a run will write: missing rows into the store, all rows into the artifact, and DVC's copy of that.

    Rows with frames are taken to be as long as those that the store has already; where it has none, nothing is known,
    and they count as nothing.

    Args:
        side: what is embedded.
        n_rows: of the artifact.
        n_missing: that the store lacks.
        store: if there is one.
    """
    frames, what = 1.0, "rows"
    if side.format.ragged:
        sample = () if store is None else store.keys()[:SAMPLE]
        frames = store.frames(sample) / len(sample) if store is not None and len(sample) else 0.0
        what = "rows" if frames else "rows without their frames (no earlier row tells how many)"
    row_bytes = side.format.row_bytes * frames + OVERHEAD_BYTES
    needs = [
        Need(what, Store.default().rows, int(n_missing * row_bytes)),
        Need("embeddings", layout.DATA, int(n_rows * row_bytes)),
    ]
    cache = dvc_cache()
    return needs if cache is None else [*needs, Need("DVC's copy of them", cache, int(n_rows * row_bytes))]
