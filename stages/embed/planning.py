"""What a run would do for one side of an encoder; nothing is computed or written for it."""

from __future__ import annotations

import numpy as np

from cache.artifact import open_artifact
from cache.errors import UserError
from cache.keys import KeyIndex
from cache.location import Store, location_of
from cache.row_store import RowStore
from pipeline.device import describe, pick_device
from pipeline.monitor.run_metrics import comparable, runs
from pipeline.operations.plan import Plan
from pipeline.previous_artifact import may_be_had
from pipeline.wanted_rows import WantedRows
from stages.embed.making import RunOptions
from stages.embed.sides import Side, needs_of


def plan_side(side: Side, rows: WantedRows, options: RunOptions, seconds: np.ndarray | None = None) -> Plan:
    """What a run would do.

    Args:
        side: what would be embedded.
        rows: all wanted rows.
        options: of the run.
        seconds: of sound or video in each row, float64 (n,), where rows are of any.
    """
    place = location_of(Store.default().rows).child(f"{side.modality}-{side.fingerprint}")
    store = RowStore.open(str(place)) if "store.json" in place.names() else None
    absent = _in_artifact(side).find(rows.keys) < 0
    if store is not None:
        absent &= store.lookup(rows.keys).rows < 0
    positions = np.flatnonzero(absent)
    missing = positions[KeyIndex([rows.keys[positions]]).first_rows()]
    cluster = options.cluster.name if options.cluster else ""
    device = "" if cluster else describe(pick_device(options.device))["device"]
    return Plan(
        side.label,
        len(rows),
        len(rows) - len(positions),
        len(positions),
        f"cluster {cluster}" if cluster else device,
        media=len({row.path for row in rows.part(missing)} - {""}),
        seconds=0.0 if seconds is None else float(seconds[missing].sum()),
        runs=comparable(runs(place), device, cluster),
        needs=needs_of(side, len(rows), len(missing), store),
    )


def _in_artifact(side: Side) -> KeyIndex:
    """Keys of the artifact that stands there, whose rows a run under DVC takes if the store lacks them."""
    try:
        found = open_artifact(side.out)
        ours = may_be_had() and found.description.get("fingerprint") == side.fingerprint
        return KeyIndex([found.keys] if ours else [])
    except UserError:
        return KeyIndex([])
