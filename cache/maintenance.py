"""Keeping a row store tidy: merge small segments, drop unwanted rows, find damage and drop exactly what it touched.

Each change writes a new segment first and removes the old ones after it is committed. Killed in between, the store
holds some rows twice, which reads as once, and the next `compact` drops the second copy. Readers that have looked
before find the old segments gone, look again, and go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from cache import keys as row_keys
from cache.errors import UserError
from cache.row_group import rows_per_block
from cache.row_store import RowStore
from cache.zarr_group import ZarrGroup


class SegmentGone(Exception):
    """Another process has merged or removed a segment while we were reading it."""


COMPACT_BYTES = 1 << 30
"""Segments are merged up to this size of their values."""


@dataclass(frozen=True)
class Change:
    """What a tidying did, or would do.

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


def compact(store: RowStore, *, dry_run: bool = False, segment_bytes: int = COMPACT_BYTES) -> Change:
    """Merges neighbouring small segments into few big ones, and drops all copies of a row but the first.

    Raises:
        UserError: a segment is damaged (repair first), or the disk is full; no row is lost.
    """
    store.refresh()
    first = store.index.first_rows()
    names = list(store.groups)
    kept = dict(zip(names, np.split(first, store.index.first[1:-1]), strict=True)) if names else {}
    change = Change()
    try:
        for run in _runs(store, names, segment_bytes):
            if len(run) > 1 or not kept[run[0]].all():
                change = _rewrite(store, {name: kept[name] for name in run}, change, dry_run)
    except SegmentGone:  # it is being compacted already
        store.refresh()
    return change


def gc(store: RowStore, keep: row_keys.Keys, *, dry_run: bool = False) -> Change:
    """Drops every row whose key is not among those to keep.

    Raises:
        UserError: a segment is damaged (repair first), or the disk is full; no kept row is lost.
    """
    store.refresh()
    wanted = {bytes(key) for key in (row_keys.unpack(keep) if isinstance(keep, np.ndarray) else keep)}
    change = Change()
    for name, group in store.groups.items():
        kept = np.fromiter((key in wanted for key in row_keys.unpack(group.keys)), bool, len(group))
        if not kept.all():
            try:
                change = _rewrite(store, {name: kept}, change, dry_run)
            except SegmentGone:
                raise UserError(
                    f"{store.path} is being tidied by another process: run again when that is done."
                ) from None
    return change


def _runs(store: RowStore, names: list[str], limit: int) -> Iterator[list[str]]:
    """Neighbouring segments that fit into one together; only neighbours, so that the first commit still wins."""
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


def _rewrite(store: RowStore, kept: dict[str, np.ndarray], change: Change, dry_run: bool) -> Change:
    with _noticing_gone(store, list(kept)):
        return _rewritten(store, kept, change, dry_run)


@contextmanager
def _noticing_gone(store: RowStore, names: list[str]) -> Iterator[None]:
    """Tells a segment that another process has removed from one that has lost a file."""
    try:
        yield
    except FileNotFoundError as error:
        if set(names) <= set(store.segments.names()):
            raise UserError(f"{error.filename} is missing: run `hearonce cache repair {store.path}`.") from None
        raise SegmentGone from None


def _rewritten(store: RowStore, kept: dict[str, np.ndarray], change: Change, dry_run: bool) -> Change:
    groups = {name: store.groups[name] for name in kept}
    index = {name: np.flatnonzero(mask) for name, mask in kept.items()}
    n = sum(map(len, index.values()))
    done = Change(
        change.segments_before + len(kept),
        change.segments_after + (n > 0),
        change.rows_removed + sum(map(len, kept.values())) - n,
        change.bytes_before + sum(store.segments.nbytes(name) for name in kept),
    )
    if not dry_run:
        replace(store, groups, index)
    return done


def replace(store: RowStore, groups: dict[str, ZarrGroup], index: dict[str, np.ndarray]) -> None:
    """Writes some rows of some segments as one new segment, then removes those.

    Args:
        store: the store.
        groups: segments by name, oldest first.
        index: the rows to keep of each.
    """
    n = sum(map(len, index.values()))
    if n:
        frames = sum(frames_in(group, index[name]) for name, group in groups.items())
        sources = [group.description.get("provenance", {}) for group in groups.values()]
        distinct = [one for i, one in enumerate(sources) if one not in sources[:i]]
        provenance = distinct[0] if len(distinct) == 1 else {"merged": distinct}
        with store.new_segment(n, frames, provenance, after=next(iter(groups))) as writer:
            for name, group in groups.items():
                with store.naming_damage(name):
                    for part in _blocks(group, index[name]):
                        with _noticing_gone(store, [name]):
                            rows = group.take(part)
                        writer.append(rows)
    for name in groups:
        store.segments.discard(name)
    store.refresh()


def frames_in(group: ZarrGroup, index: np.ndarray) -> int:
    """Frames of these rows together; their number when rows are not ragged."""
    if not group.format.ragged:
        return len(index)
    offsets = group.array("offsets")
    return int((offsets.take(index + 1) - offsets.take(index)).sum())


def _blocks(group: ZarrGroup, index: np.ndarray) -> Iterator[np.ndarray]:
    step = rows_per_block(group.format, len(group), group.array("values").shape[0])
    for start in range(0, len(index), step):
        yield index[start : start + step]
