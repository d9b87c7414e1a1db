import multiprocessing
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from cache_samples import FINGERPRINT, FORMATS, assert_rows, batch, files, keys, open_store

from cache.errors import DamageError, StoreBusy, UserError
from cache.formats import zarr_group
from cache.formats.zarr_group import ZarrGroup
from cache.location import LocalLocation
from cache.row_store import RowStore
from cache.segments import Segments
from cache.upkeep.compaction import Change, compact, drop, gc
from cache.upkeep.repair import repair

ROW = FORMATS[0]


@pytest.mark.parametrize("row_format", FORMATS, ids=str)
@pytest.mark.parametrize("where", ["disk", "url"])
def test_compact_and_gc_keep_what_they_should(tmp_path, row_format, where):
    store = open_store(tmp_path if where == "disk" else f"memory://{tmp_path.name}", row_format)
    for first in range(0, 20, 4):
        store.append(*batch(row_format, *range(first, first + 6)), provenance={"device": "cpu"})
    late = open_store(tmp_path if where == "disk" else f"memory://{tmp_path.name}", row_format)
    change = compact(store)
    assert (change.segments_before, change.segments_after, change.rows_removed) == (5, 1, 8)
    assert [group.description["provenance"] for group in store.groups.values()] == [{"device": "cpu"}]
    assert_rows(late, *reversed(range(22)))
    assert compact(store) == Change()
    change = gc(store, keys(*range(0, 22, 2)))
    assert (change.segments_before, change.segments_after, change.rows_removed) == (1, 1, 11)
    assert store.missing(keys(*range(22))) == keys(*range(1, 22, 2))
    assert_rows(store, *range(0, 22, 2))
    assert gc(store, []).segments_after == 0
    assert len(store) == 0


def test_the_same_copy_is_read_after_compact(tmp_path):
    store = open_store(tmp_path)
    store.append(*batch(ROW, 1))
    store.append(*batch(ROW, *range(100, 160)))
    store.append(keys(1, 2), 1.0001 * batch(ROW, 1, 2)[1])
    store.append(keys(2, 3), batch(ROW, 2, 3)[1], provenance={"device": "cuda"})
    before = store.read(keys(1, 2, 3))
    compact(store, segment_bytes=200)
    np.testing.assert_array_equal(store.read(keys(1, 2, 3)), before)
    compact(store)
    np.testing.assert_array_equal(store.read(keys(1, 2, 3)), before)
    assert len(store) == sum(map(len, store.groups.values())) == 63
    (group,) = store.groups.values()
    assert group.description["provenance"] == {"merged": [{}, {"merged": [{}, {"device": "cuda"}]}]}


def test_dry_runs_write_nothing(tmp_path):
    store = open_store(tmp_path)
    store.append(*batch(ROW, 1, 2))
    store.append(*batch(ROW, 2, 3))
    before = {path: path.read_bytes() for path in files(tmp_path)}
    assert compact(store, dry_run=True).rows_removed == 1
    assert gc(store, keys(1), dry_run=True).rows_removed == 3
    assert {path: path.read_bytes() for path in files(tmp_path)} == before


def test_a_compact_that_meets_damage_removes_nothing(tmp_path):
    store = open_store(tmp_path)
    store.append(*batch(ROW, 1, 2))
    store.append(*batch(ROW, 3))
    shard = sorted(Path(store.path).glob("segments/*/values/c.*"))[1]
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="hearonce cache repair"):
        compact(store)
    assert len(store.segments.names()) == 2
    assert list(Path(store.path).glob("scratch/.*")) == []
    assert_rows(store, 1, 2)


@pytest.mark.parametrize("tidy", ["compact", "gc"])
@pytest.mark.parametrize("where", ["disk", "url"])
def test_a_compact_between_commit_and_removal_of_another_loses_nothing(tmp_path, monkeypatch, where, tidy):
    """Segments and the other's copy of their rows are in different ones of those that the compact rewrites."""
    segment_bytes = (20 if tidy == "compact" else 10) * ROW.row_bytes
    for attempt in range(8):  # names of the same time sort at random
        root = tmp_path / str(attempt) if where == "disk" else f"memory://{tmp_path.name}/{attempt}"
        store = open_store(root)
        store.append(*batch(ROW, *range(10)))
        store.append(*batch(ROW, *range(10, 20)))
        discard, seen = Segments.discard, []

        def compact_first(segments, name, discard=discard, root=root, seen=seen):
            monkeypatch.setattr(Segments, "discard", discard)
            seen.append(segments.names())
            with suppress(StoreBusy):
                compact(open_store(root), segment_bytes=segment_bytes)
            discard(segments, name)

        monkeypatch.setattr(Segments, "discard", compact_first)
        if tidy == "compact":
            compact(store, segment_bytes=segment_bytes)
        else:
            gc(store, keys(*range(19)))
        monkeypatch.setattr(Segments, "discard", discard)
        assert seen
        assert_rows(open_store(root), *range(19))


def test_one_process_at_a_time_tidies(tmp_path):
    store = open_store(tmp_path)
    store.append(*batch(ROW, 1, 2))
    store.append(*batch(ROW, 2, 3))
    with open_store(tmp_path).segments.locked() as alone:
        assert alone
        for tidy in (lambda: compact(store), lambda: gc(store, keys(1)), lambda: repair(store.path)):
            with pytest.raises(StoreBusy, match="run again"):
                tidy()
        assert compact(store, dry_run=True).rows_removed == 1
        store.append(*batch(ROW, 4))
        assert_rows(store, 1, 2, 3, 4)
    assert compact(store).rows_removed == 1


@pytest.mark.parametrize("row_format", [ROW, FORMATS[3]], ids=str)
@pytest.mark.parametrize("array", ["values", "keys"])
def test_a_lost_file_is_no_other_process(tmp_path, row_format, array):
    store = open_store(tmp_path, row_format)
    store.append(*batch(row_format, 1, 2))
    store.append(*batch(row_format, 3))
    shard = sorted(Path(store.path).glob(f"segments/*/{array}/c.*"))[0]
    shard.unlink()
    for tidy in (compact, lambda store, dry_run: gc(store, keys(2, 3), dry_run=dry_run)):
        for dry_run in (True, False):
            with pytest.raises(DamageError, match=f"{array}/c.0.0.*is missing.*hearonce cache repair"):
                tidy(RowStore.open(store.path), dry_run=dry_run)
    assert len(store.segments.names()) == 2


def _compact_forever(path):
    store = RowStore.open(path)
    while True:
        with suppress(StoreBusy):
            compact(store)
        time.sleep(0.005)


def _append_all(root, first):
    store = open_store(root)
    for number in range(first, first + 120, 3):
        store.append(*batch(ROW, *range(number, number + 6)))


def test_writers_readers_and_two_compactors_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    reader = open_store(tmp_path)
    reader.append(*batch(ROW, *range(500, 600)))
    compactors = [context.Process(target=_compact_forever, args=(reader.path,), daemon=True) for _ in range(2)]
    writers = [context.Process(target=_append_all, args=(tmp_path, first)) for first in (0, 60)]
    for process in compactors + writers:
        process.start()
    while any(process.is_alive() for process in writers):
        assert_rows(reader, *np.random.default_rng(0).integers(500, 600, 50).tolist())
    for process in compactors:
        assert process.is_alive()
        process.kill()
        process.join()
    assert [process.exitcode for process in writers] == [0, 0]
    store = RowStore.open(reader.path)
    assert store.description.fingerprint == FINGERPRINT
    assert_rows(store, *range(183), *range(500, 600))
    compact(store)
    assert len(store) == len(store.catalog.index.packed) == 283


def test_readers_go_on_however_many_segments_another_process_removes_one_after_the_other(tmp_path, monkeypatch):
    store, other, n = open_store(tmp_path), open_store(tmp_path), 60
    for _ in range(n):
        store.append(*batch(ROW, 1, 2))
    doomed = list(open_store(tmp_path).groups)
    store.append(*batch(ROW, 1, 2))  # as a compact has committed what it merged, before it removes the first
    store.refresh()
    take = ZarrGroup.take

    def removed_before_it_is_read(group, index):
        if doomed:
            other.segments.discard([doomed.pop(0)])
        return take(group, index)

    monkeypatch.setattr(ZarrGroup, "take", removed_before_it_is_read)
    np.testing.assert_array_equal(store.read(keys(1, 2)), batch(ROW, 1, 2)[1])
    assert not doomed and len(store.groups) == 1


def test_rows_that_are_merged_while_a_reader_lists_the_segments_are_not_missing(tmp_path, monkeypatch):
    store, late, names = open_store(tmp_path), open_store(tmp_path), Segments.names
    for first in range(3):
        store.append(*batch(ROW, first))

    def merged_when_listed(segments, names=names):
        found = names(segments)
        monkeypatch.setattr(Segments, "names", names)
        compact(open_store(tmp_path))
        return found

    monkeypatch.setattr(Segments, "names", merged_when_listed)
    assert late.missing(keys(0, 1, 2)) == []
    assert_rows(late, 0, 1, 2)


def test_a_segment_that_another_process_removes_while_it_is_opened_is_not_called_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_group, "_ROWS_BELIEVED", 0)
    store, late, nbytes = open_store(tmp_path), open_store(tmp_path), LocalLocation.nbytes
    store.append(*batch(ROW, *range(2000)))
    store.append(*batch(ROW, 1))

    def merged_when_measured(place, nbytes=nbytes):
        monkeypatch.setattr(LocalLocation, "nbytes", nbytes)
        monkeypatch.setattr(zarr_group, "_ROWS_BELIEVED", 1 << 20)
        compact(open_store(tmp_path))
        return nbytes(place)

    monkeypatch.setattr(LocalLocation, "nbytes", merged_when_measured)
    assert len(late) == 2000


def test_drop_takes_the_rows_of_its_keys_and_none_that_others_commit_meanwhile(tmp_path):
    store = open_store(tmp_path)
    store.append(*batch(ROW, *range(10)))
    assert len(store) == 10
    open_store(tmp_path).append(*batch(ROW, *range(10, 20)))
    assert drop(store, keys(3, 12, 99), dry_run=True).rows_removed == 2
    assert drop(store, keys(3, 12, 99)).rows_removed == 2
    kept = [n for n in range(20) if n not in (3, 12)]
    assert len(store) == 18
    assert_rows(store, *kept)
