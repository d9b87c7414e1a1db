"""What a run would do for one side of an encoder, and how much it writes; nothing is computed or written for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cache.artifact import open_artifact
from cache.errors import UserError
from cache.keys import unpack
from cache.location import Store
from cache.places import place_of
from cache.row_store import RowStore
from pipeline import layout
from pipeline.device import describe, pick_device
from pipeline.operations.metrics import comparable, runs
from pipeline.operations.plan import Plan
from pipeline.operations.space import Need, dvc_cache
from pipeline.row_making import Row
from stages.embed.making import RunOptions
from stages.embed.side import Side

SAMPLE = 1000
"""Rows of a store by which the length of others is estimated."""

OVERHEAD_BYTES = 64
"""Of a row, for its key, its id and checksums."""


def plan_side(side: Side, rows: Sequence[Row], options: RunOptions, seconds: Mapping[bytes, float]) -> Plan:
    """What a run would do.

    Args:
        side: what would be embedded.
        rows: all wanted rows.
        options: of the run.
        seconds: of sound or video by row key, where a row is of any.
    """
    place = place_of(Store.default().rows).child(f"{side.modality}-{side.fingerprint}")
    store = RowStore.open(str(place)) if "store.json" in place.names() else None
    keys = [row.key for row in rows]
    missing = set(keys if store is None else store.missing(keys)) - _in_artifact(side)
    first = {row.key: row for row in rows if row.key in missing}
    device = "" if options.cluster else describe(pick_device(options.device))["device"]
    return Plan(
        side.label,
        len(rows),
        sum(row.key in missing for row in rows),
        f"cluster {options.cluster}" if options.cluster else device,
        media=len({row.path for row in first.values() if row.path}),
        seconds=sum(seconds.get(key, 0.0) for key in missing),
        runs=comparable(runs(place), device, options.cluster or ""),
        needs=needs_of(side, len(rows), len(missing), store),
    )


def needs_of(side: Side, n_rows: int, n_missing: int, store: RowStore | None) -> list[Need]:
    """What a run will write: missing rows into the store, all rows into the artifact, and DVC's copy of that.

    Rows with frames are taken to be as long as those that the store holds already; if it holds none, nothing is known.

    Args:
        side: what is embedded.
        n_rows: of the artifact.
        n_missing: that the store lacks.
        store: if there is one.
    """
    frames = 1.0
    if side.format.ragged:
        sample = () if store is None else store.keys()[:SAMPLE]
        frames = store.frames(sample) / len(sample) if store is not None and len(sample) else 0.0
    row_bytes = side.format.row_bytes * frames + OVERHEAD_BYTES
    cache = dvc_cache()
    return [
        Need("rows", Store.default().rows, int(n_missing * row_bytes)),
        Need("the embedding cache", layout.DATA, int(n_rows * row_bytes)),
        *([] if cache is None else [Need("DVC's copy of that", cache, int(n_rows * row_bytes))]),
    ]


def _in_artifact(side: Side) -> set[bytes]:
    """Keys of the artifact that stands there, whose rows a run takes if the store lacks them."""
    out = layout.embeddings(side.corpus, side.encoder, side.artifact)
    try:
        found = open_artifact(out)
    except UserError:
        return set()
    return set(unpack(found.keys)) if found.description.get("fingerprint") == side.fingerprint else set()
