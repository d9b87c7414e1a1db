"""Finding damage in a row store, and dropping exactly the rows it touched, so that the next run computes them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import Damage, DamageError, FalseClaim, Unreadable, UserError
from cache.formats.group import describe, layout
from cache.formats.zarr_array import ArraySpec
from cache.formats.zarr_group import ZarrGroup, group_document
from cache.json_documents import parse_json
from cache.keys import unpack_keys
from cache.location import LocalLocation, Location, RemoteLocation, location_of
from cache.row_store import RowStore
from cache.rows import RowFormat
from cache.segments import Segments, StoreDescription
from cache.upkeep.compaction import Superseded, replace, withdraw


def verify(path: Path | str, filesystem: Any = None, skipped: list[str] | None = None) -> list[Damage]:
    """Reads a whole row store and lists what is damaged, with the keys of the rows as far as they are known.

    Args:
        path: of the store, or its URL.
        filesystem: as of `location_of`.
        skipped: takes a sentence for each segment that cannot be read for want of permission.

    Raises:
        UserError: the path holds no row store, or one of another version.
        Unreadable: permission is denied, and `skipped` is None.
    """
    return _verified(location_of(path, filesystem), skipped)


def _verified(location: LocalLocation | RemoteLocation, skipped: list[str] | None = None) -> list[Damage]:
    found: list[Damage] = []
    store: RowStore | None = None
    description: StoreDescription | None
    try:
        store = RowStore(location)
        description = store.description
    except DamageError as error:
        found += error.damages
        description = _recovered_description(location)
    if description is None:
        return found
    not_finite: list[Damage] = []
    intact: dict[str, ZarrGroup] = {}
    segments = Segments(location)
    for name in segments.names():
        examined = _examine(segments, name, description, skipped)
        found += examined.damages
        not_finite += examined.not_finite
        if examined.group is not None and not examined.damages:
            intact[name] = examined.group
    if store is not None and not found:
        with suppress(Unreadable):  # then `skipped` says so
            found += _contradictions(store, intact) or not_finite
    return found


def _contradictions(store: RowStore, intact: Mapping[str, ZarrGroup]) -> list[Damage]:
    store.catalog.preload(intact)
    copies = store.catalog.with_refresh(lambda: store.catalog.copies.contradictions())
    return store.catalog.contradiction(np.concatenate(copies)) if copies else []


def repair(path: Path | str, *, dry_run: bool = False, skipped: list[str] | None = None) -> list[Damage]:
    """Drops the rows that are damaged, a whole chunk's rows where one bit is wrong, and keeps all others.

    Args:
        path: of the store, or its URL.
        dry_run: only say what would be dropped.
        skipped: as of `verify`; such a segment stays as it is.

    Returns:
        What was found, as `verify` has it.

    Raises:
        StoreBusy: by another process.
        UserError: no segment is intact enough to say what the store holds, or the disk is full.
    """
    location = location_of(path)
    with Segments(location).locked(dry_run=dry_run):
        return _repaired(location, dry_run, skipped)


def _repaired(location: LocalLocation | RemoteLocation, dry_run: bool, skipped: list[str] | None) -> list[Damage]:
    found: list[Damage] = []
    try:
        store = RowStore(location)
    except DamageError as error:
        found += error.damages
        if dry_run:
            return _verified(location, skipped)
        recovered = _recovered_description(location)
        if recovered is None:
            raise UserError(
                f"{location} has a damaged store.json and no intact segment: delete it and run again."
            ) from None
        Segments(location).write_description(recovered.to_bytes())
        store = RowStore(location)
    intact: dict[str, _Examined] = {}
    for name in store.segments.names():
        examined = _examine(store.segments, name, store.description, skipped)
        found += examined.damages
        if examined.group is not None and not examined.damages:
            intact[name] = examined
        if not examined.damages or dry_run:
            continue
        if examined.group is None:
            store.segments.discard([name])
            continue
        lenient = ZarrGroup(store.segments.location(name), "segment", examined.group.document)
        _drop(store, name, lenient, examined.damages)
    if not found:
        found += _contradictions(
            store, {name: examined.group for name, examined in intact.items() if examined.group is not None}
        )
        if found and not dry_run:
            withdraw(store, store.catalog.copies.contradictions())
    if not found:  # after the contradictions: `withdraw` commits such rows, and they have to go last
        for name, examined in intact.items():
            found += examined.not_finite
            if examined.not_finite and examined.group is not None and not dry_run:
                _drop(store, name, examined.group, examined.not_finite)
    return found


def _drop(store: RowStore, name: str, group: ZarrGroup, damages: Sequence[Damage]) -> None:
    """Rewrites a segment without the rows that are damaged."""
    healthy = np.ones(len(group), bool)
    for damage in damages:
        if damage.rows is not None:
            healthy[damage.rows[0] : damage.rows[1]] = False
    with suppress(Superseded):  # another process has just merged or repaired it
        replace(store, {name: group}, {name: np.flatnonzero(healthy)})


@dataclass(frozen=True)
class _Examined:
    """A segment and what is wrong with it.

    Attributes:
        group: the segment, reconstructed where its description is damaged; None if that cannot be done, or it is gone.
        damages: all of it that is damaged.
        not_finite: if nothing is, rows whose checksums fit, but which no store takes.
    """

    group: ZarrGroup | None = None
    damages: Sequence[Damage] = ()
    not_finite: Sequence[Damage] = ()


def _examine(segments: Segments, name: str, description: StoreDescription, skipped: list[str] | None) -> _Examined:
    try:
        return _examined(segments, name, description)
    except Unreadable as error:
        if skipped is None:
            raise
        skipped.append(str(error))
        return _Examined()


def _examined(segments: Segments, name: str, description: StoreDescription) -> _Examined:
    location = segments.location(name)
    found: list[Damage] = []
    bad: list[np.ndarray] = []
    group: ZarrGroup | None
    try:
        group = segments.open(name)
        if group is None:  # still being uploaded, or another process has just merged it into another
            return _Examined()
        if foreign := description.foreign(group):
            return _Examined(None, [Damage(f"segments/{name}/{foreign.file}", foreign.rows, foreign.reason)])
    except (DamageError, FileNotFoundError) as error:
        reason = error.damages[0].reason if isinstance(error, DamageError) else "is missing"
        found.append(Damage("zarr.json", None, reason))
        group = _reconstructed(location, description.format)
        if group is None:
            found.append(Damage("zarr.json", None, "cannot be reconstructed: all rows of the segment are lost"))

    def visit(first: int, values: np.ndarray) -> None:
        bad.append(first + np.flatnonzero(description.format.not_finite(values)))

    try:
        if group is not None:
            found += [_with_keys(damage, group) for damage in group.damages(visit)]
            if not found:
                return _Examined(group, (), _not_finite(name, group, np.concatenate([np.zeros(0, np.int64), *bad])))
    except FileNotFoundError:
        if segments.holds(name):
            raise
    if not segments.holds(name):  # another process has just merged it into another
        return _Examined()
    return _Examined(
        group, [Damage(f"segments/{name}/{damage.file}", damage.rows, damage.reason, damage.keys) for damage in found]
    )


def _not_finite(name: str, group: ZarrGroup, bad: np.ndarray) -> list[Damage]:
    """Rows with numbers that are not finite, by the rows, or frames, of `values` that hold them."""
    if not len(bad):
        return []
    if group.offsets is not None:
        bad = np.unique(np.searchsorted(group.offsets, bad, side="right") - 1)
    return [
        Damage(f"segments/{name}/values", (i, i + 1), "holds numbers that are not finite", (group.keys[i].tobytes(),))
        for i in bad.tolist()
    ]


def _with_keys(damage: Damage, group: ZarrGroup) -> Damage:
    if damage.rows is None:
        return damage
    try:
        keys = group.array("keys").take(np.arange(*damage.rows))
    except (DamageError, FileNotFoundError):
        return damage
    return Damage(damage.file, damage.rows, damage.reason, tuple(unpack_keys(keys)))


def _reconstructed(location: Location, row_format: RowFormat) -> ZarrGroup | None:
    """Opens a segment whose own zarr.json is damaged, from those of its arrays."""
    specs: dict[str, ArraySpec] = {}
    for name in layout(row_format, 0, 0):
        try:
            spec = ArraySpec.from_document(parse_json(location.child(name).read("zarr.json"), name))
        except (FalseClaim, FileNotFoundError):
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
    try:
        return ZarrGroup(location, "segment", group_document(description, metadata))
    except FalseClaim:
        return None


def _recovered_description(location: LocalLocation | RemoteLocation) -> StoreDescription | None:
    """Whose rows a store holds, from its intact segments: of the tower that its folder names, and most of them."""
    segments = Segments(location)
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
    return StoreDescription(*max(rows, key=lambda of: (str(location).endswith(f"/{of[0]}-{of[1]}"), rows[of])))
