"""Rewriting segments of a row store: merge small ones, drop unwanted rows, drop rows that contradict each other.

Each change writes a new segment first and removes the old ones after it is committed. Killed in between, the store
holds some rows twice, which reads as once, and the next `compact` drops the second copy. Readers find the
old segments gone, read again which there are, and go on.

One process at a time maintains a store: another might be about to remove the segment whose copies are a reason to drop
others. Where that cannot be had, on a URL or NFS, only copies that are rewritten together become one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from cache.errors import Damage, StoreBusy
from cache.formats.group import rows_per_block
from cache.formats.zarr_group import ZarrGroup
from cache.keys import KeyIndex, Keys, pack_keys
from cache.row_store import RowStore
from cache.rows import Rows

COMPACT_BYTES = 1 << 30
"""Segments are merged up to this size of their values."""


Plan = dict[str, np.ndarray]
"""Segments to rewrite as one, oldest first, with the rows to keep of each: bool (rows,)."""

_ATTEMPTS = 10


@dataclass(frozen=True)
class Change:
    """What a rewrite did, or would do.

    Attributes:
        segments_before: segments that were rewritten or removed.
        segments_after: segments that took their place.
        rows_removed: rows dropped (second copies among them).
        bytes_before: size on the disk of the rewritten or removed segments.
    """

    segments_before: int = 0
    segments_after: int = 0
    rows_removed: int = 0
    bytes_before: int = 0


class Superseded(Exception):
    """Segments that were to be rewritten are gone: another process has just done so."""


def compact(store: RowStore, *, dry_run: bool = False, segment_bytes: int = COMPACT_BYTES) -> Change:
    """Merges neighbouring small segments into few big ones, and drops all copies of a row but the one that is read.

    Raises:
        StoreBusy: by another process.
        UserError: a segment is damaged (repair first), or the disk is full; no row is lost.
    """

    def plan(alone: bool) -> list[Plan]:
        names = list(store.groups)
        runs = list(_runs(store, names, segment_bytes))
        try:
            kept = _needed(store, names) if alone else _needed_together(store, names, runs)
        except FileNotFoundError as error:
            raise Superseded from error
        return [{name: kept[name] for name in run} for run in runs if len(run) > 1 or not kept[run[0]].all()]

    return _carry_out(store, plan, dry_run)


def gc(store: RowStore, keep: Keys, *, dry_run: bool = False) -> Change:
    """Drops every row whose key is not among those to keep.

    Raises:
        StoreBusy: by another process.
        UserError: a segment is damaged (repair first), or the disk is full; no kept row is lost.
    """
    wanted = KeyIndex([pack_keys(keep)])
    return _keep(store, lambda keys: wanted.find(keys) >= 0, dry_run)


def drop(store: RowStore, keys: Keys, *, dry_run: bool = False) -> Change:
    """Drops the rows of some keys, and keeps whatever else others commit meanwhile; raises as `gc` does."""
    unwanted = KeyIndex([pack_keys(keys)])
    return _keep(store, lambda held: unwanted.find(held) < 0, dry_run)


def _keep(store: RowStore, kept: Callable[[np.ndarray], np.ndarray], dry_run: bool) -> Change:
    """Drops the rows of all keys but those that `kept` says."""

    def plan(_: bool) -> list[Plan]:
        masks = {name: kept(group.keys) for name, group in store.groups.items()}
        return [{name: mask} for name, mask in masks.items() if not mask.all()]

    return _carry_out(store, plan, dry_run)


def replace(store: RowStore, groups: Mapping[str, ZarrGroup], index: Mapping[str, np.ndarray]) -> None:
    """Writes some rows of some segments as one new segment, then removes those.

    Args:
        store: the store.
        groups: segments by name, oldest first.
        index: the rows to keep of each.

    Raises:
        Superseded: one of the segments is gone; nothing was written.
    """
    n = sum(map(len, index.values()))
    store.segments.check_removable(groups)
    if n:
        frames = 0
        for name, group in groups.items():
            with _detecting_removal(store, name):
                frames += group.frames(index[name])
        sources = [group.description.get("provenance", {}) for group in groups.values()]
        distinct = [source for i, source in enumerate(sources) if source not in sources[:i]]
        provenance = distinct[0] if len(distinct) == 1 else {"merged": distinct}
        with store.new_segment(n, frames, provenance, after=next(iter(groups))) as writer:
            for name, group in groups.items():
                for rows in _blocks(store, name, group, index[name]):
                    writer.append(rows)
    store.segments.discard(groups)
    store.catalog.stale = True


def _carry_out(store: RowStore, plan: Callable[[bool], list[Plan]], dry_run: bool) -> Change:
    with store.segments.locked(dry_run=dry_run) as alone:
        change = Change()
        for _ in range(_ATTEMPTS):
            store.refresh()
            groups = dict(store.groups)
            try:
                for kept in plan(alone):
                    change = _rewrite(store, groups, kept, change, dry_run)
                return change
            except Superseded:
                continue
        raise StoreBusy(store.path)


def _rewrite(store: RowStore, groups: Mapping[str, ZarrGroup], kept: Plan, change: Change, dry_run: bool) -> Change:
    index = {name: np.flatnonzero(mask) for name, mask in kept.items()}
    n = sum(map(len, index.values()))
    nbytes = 0
    for name in kept:
        with _detecting_removal(store, name):
            nbytes += store.segments.nbytes(name)
    if dry_run:  # reads all the same, to meet the damage that a real run would
        for name in kept:
            for _ in _blocks(store, name, groups[name], index[name]):
                pass
    else:
        replace(store, {name: groups[name] for name in kept}, index)
    return Change(
        change.segments_before + len(kept),
        change.segments_after + (n > 0),
        change.rows_removed + sum(map(len, kept.values())) - n,
        change.bytes_before + nbytes,
    )


@contextmanager
def _detecting_removal(store: RowStore, name: str) -> Iterator[None]:
    """Distinguishes a segment that another process has removed from one that is damaged."""
    try:
        with store.catalog.naming_damage(name):
            yield
    except FileNotFoundError as error:
        raise Superseded from error


def _runs(store: RowStore, names: list[str], limit: int) -> Iterator[list[str]]:
    """Neighbouring segments that fit into one together."""
    run: list[str] = []
    total = 0
    for name in names:
        size = store.groups[name].array("values").shape[0] * store.format.row_bytes
        if run and total + size > limit:
            yield run
            run, total = [], 0
        run.append(name)
        total += size
    if run:
        yield run


def _needed(store: RowStore, names: list[str]) -> Plan:
    """Which rows of the segments are single, the copy that is read, or part of a contradiction."""
    index = store.catalog.index
    needed = store.catalog.copies.needed(len(index.packed))
    return dict(zip(names, np.split(needed, index.first[1:-1]), strict=False))


def _needed_together(store: RowStore, names: list[str], runs: list[list[str]]) -> Plan:
    """The same, but copies also stay whose chosen one is not rewritten with them: others might be removing that."""
    index = store.catalog.index
    chosen = store.catalog.copies.chosen_for_all(len(index.packed))
    run_of = {name: number for number, run in enumerate(runs) for name in run}
    run = np.repeat([run_of[name] for name in names], np.diff(index.first))
    needed = (chosen == np.arange(len(chosen))) | (run[chosen] != run)
    return dict(zip(names, np.split(needed, index.first[1:-1]), strict=False))


def withdraw(store: RowStore, copies: Sequence[np.ndarray]) -> None:
    """Drops all copies of some keys, so that a process that is killed meanwhile leaves no copy that would be believed.

    Before the first copy goes, a segment is committed in which each of the keys stands twice with no numbers (NaN),
    which contradicts whatever is left of the others; it goes last.

    Args:
        store: the store, which nobody else maintains.
        copies: for each key the positions of all its rows among all rows of the store.

    Raises:
        UserError: the disk refuses, or the owner of a segment does; what is left is still contradictory.
        StoreBusy: a segment has been rewritten meanwhile.
    """
    groups, index = dict(store.groups), store.catalog.index
    parts = store.catalog.locate(np.sort(np.concatenate(copies)))
    store.segments.check_removable(name for name, _, _ in parts)
    keys = np.repeat(index.packed[[positions[0] for positions in copies]], 2, axis=0)
    values = store.format.encode(np.full((len(keys), store.format.dim), np.nan, np.float32))
    offsets = np.arange(len(keys) + 1) if store.format.ragged else None
    extra = {name: np.zeros(len(keys), np.dtype(kind).newbyteorder("<")) for name, kind in store.format.extra.items()}
    mark = {"withdraws": f"{len(copies)} rows that contradict each other", "mark": uuid.uuid4().hex}
    store.append_rows(Rows(store.format, keys, values, offsets, extra), mark)
    for name, local, _ in parts:
        keep = np.ones(len(groups[name]), bool)
        keep[local] = False
        try:
            replace(store, {name: groups[name]}, {name: np.flatnonzero(keep)})
        except Superseded:
            raise StoreBusy(store.path) from None
    store.refresh()
    marks = [name for name, group in store.groups.items() if group.description.get("provenance") == mark]
    store.segments.discard(marks)
    store.catalog.stale = True


def drop_contradictions(store: RowStore, keys: Keys | None = None) -> list[Damage]:
    """Drops all copies of keys whose copies contradict each other, so that their rows are computed again.

    Args:
        store: the store.
        keys: only of these; of all if None.

    Returns:
        What was dropped.

    Raises:
        StoreBusy: by another process.
        UserError: the disk or the owner of a segment refuses.
    """
    with store.segments.locked():
        store.refresh()
        copies = store.catalog.with_refresh(lambda: store.catalog.copies.contradictions())
        if keys is not None:
            wanted = KeyIndex([pack_keys(keys)])
            copies = [
                positions for positions in copies if wanted.find(store.catalog.index.packed[positions[:1]])[0] >= 0
            ]
        if not copies:
            return []
        found = store.catalog.contradiction(np.concatenate(copies))
        withdraw(store, copies)
        return found


def _blocks(store: RowStore, name: str, group: ZarrGroup, index: np.ndarray) -> Iterator[Rows]:
    step = rows_per_block(group.format, len(group), group.array("values").shape[0])
    for start in range(0, len(index), step):
        with _detecting_removal(store, name):
            rows = group.take(index[start : start + step])
        yield rows
