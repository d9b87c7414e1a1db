"""Finding damage in a row store, and dropping exactly the rows it touched, so that the next run computes them again."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cache import keys as row_keys
from cache.array_spec import ArraySpec
from cache.errors import Damage, DamageError, UserError
from cache.maintenance import Superseded, replace
from cache.places import LocalPlace, Place, RemotePlace, place_of
from cache.row_format import RowFormat
from cache.row_group import describe, layout
from cache.row_store import RowStore
from cache.segments import Segments
from cache.store_description import StoreDescription
from cache.zarr_group import ZarrGroup, group_document


def verify(path: Path | str, filesystem: Any = None) -> list[Damage]:
    """Reads a whole row store and lists what is damaged, with the keys of the rows as far as they are known.

    Raises:
        UserError: the path holds no row store, or one of another version.
    """
    return _verified(place_of(path, filesystem))


def _verified(place: LocalPlace | RemotePlace) -> list[Damage]:
    found: list[Damage] = []
    description: StoreDescription | None
    try:
        description = RowStore(place).description
    except DamageError as error:
        found += error.damages
        description = _recovered_description(place)
    if description is not None:
        segments = Segments(place)
        for name in segments.names():
            found += _examine(segments, name, description)[1]
    return found


def repair(path: Path | str, *, dry_run: bool = False) -> list[Damage]:
    """Drops the rows that are damaged, a whole chunk's rows where one bit is wrong, and keeps all others.

    Args:
        path: of the store, or its URL.
        dry_run: only say what would be dropped.

    Returns:
        What was found, as `verify` has it.

    Raises:
        BeingTidied: by another process.
        UserError: no segment is intact enough to tell what the store holds, or the disk is full.
    """
    place = place_of(path)
    with Segments(place).tidying(dry_run=dry_run):
        return _repaired(place, dry_run)


def _repaired(place: LocalPlace | RemotePlace, dry_run: bool) -> list[Damage]:
    found: list[Damage] = []
    try:
        store = RowStore(place)
    except DamageError as error:
        found += error.damages
        if dry_run:
            return _verified(place)
        recovered = _recovered_description(place)
        if recovered is None:
            raise UserError(
                f"{place} has a damaged store.json and no intact segment: delete it and run again."
            ) from None
        Segments(place).write_description(recovered.to_bytes())
        store = RowStore(place)
    for name in store.segments.names():
        group, damages = _examine(store.segments, name, store.description)
        found += damages
        if not damages or dry_run:
            continue
        if group is None:
            store.segments.discard(name)
            continue
        healthy = np.ones(len(group), bool)
        for damage in damages:
            if damage.rows is not None:
                healthy[damage.rows[0] : damage.rows[1]] = False
        lenient = ZarrGroup(store.segments.place(name), "segment", group.document)
        with suppress(Superseded):  # another process has just merged or repaired it
            replace(store, {name: lenient}, {name: np.flatnonzero(healthy)})
    return found


def _examine(segments: Segments, name: str, description: StoreDescription) -> tuple[ZarrGroup | None, list[Damage]]:
    """A segment, reconstructed where its description is damaged, and everything wrong with it."""
    place = segments.place(name)
    found: list[Damage] = []
    group: ZarrGroup | None
    try:
        group = segments.open(name)
        if group is None:  # still being uploaded, or another process has just merged it into another
            return None, []
        if foreign := description.foreign(group):
            return None, [Damage(f"segments/{name}/{foreign.file}", foreign.rows, foreign.reason)]
    except (DamageError, FileNotFoundError) as error:
        reason = error.damages[0].reason if isinstance(error, DamageError) else "is missing"
        found.append(Damage("zarr.json", None, reason))
        group = _reconstructed(place, description.format)
        if group is None:
            found.append(Damage("zarr.json", None, "cannot be reconstructed: all rows of the segment are lost"))
    if group is not None:
        found += [_with_keys(one, group) for one in group.damages()]
    if found and not segments.holds(name):  # another process has just merged it into another
        return None, []
    return group, [Damage(f"segments/{name}/{one.file}", one.rows, one.reason, one.keys) for one in found]


def _with_keys(damage: Damage, group: ZarrGroup) -> Damage:
    if damage.rows is None:
        return damage
    try:
        keys = group.array("keys").take(np.arange(*damage.rows))
    except (DamageError, FileNotFoundError):
        return damage
    return Damage(damage.file, damage.rows, damage.reason, tuple(row_keys.unpack(keys)))


def _reconstructed(place: Place, row_format: RowFormat) -> ZarrGroup | None:
    """Opens a segment whose own zarr.json is damaged, from those of its arrays."""
    specs: dict[str, ArraySpec] = {}
    for name in layout(row_format, 0, 0):
        try:
            spec = ArraySpec.from_document(json.loads(place.child(name).read("zarr.json")))
        except (ValueError, FileNotFoundError):
            return None
        if spec is None:
            return None
        specs[name] = spec
    n = specs["keys"].shape[0]
    if {name: (spec.shape, spec.dtype) for name, spec in specs.items()} != layout(
        row_format, n, specs["values"].shape[0]
    ):
        return None
    description = describe(row_format, n, {"provenance": {"note": "the description was damaged and reconstructed"}})
    metadata = {name: spec.document() for name, spec in specs.items()}
    return ZarrGroup(place, "segment", group_document(description, metadata))


def _recovered_description(place: LocalPlace | RemotePlace) -> StoreDescription | None:
    """Whose rows a store holds, from its intact segments: of the tower that its folder names, and most of them."""
    segments = Segments(place)
    rows: Counter[tuple[str, str, RowFormat]] = Counter()
    for name in segments.names():
        try:
            group = segments.open(name)
        except (UserError, FileNotFoundError):
            continue
        if group is not None and {"modality", "fingerprint"} <= group.description.keys():
            rows[group.description["modality"], group.description["fingerprint"], group.format] += len(group)
    if not rows:
        return None
    return StoreDescription(*max(rows, key=lambda of: (str(place).endswith(f"/{of[0]}-{of[1]}"), rows[of])))
