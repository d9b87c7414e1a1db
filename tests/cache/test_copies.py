"""Rows that several writers computed for one key."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from cache_samples import FORMATS, batch, keys, open_store

from cache.catalog import TOLERANCE
from cache.errors import DamageError, UserError
from cache.row_store import RowStore
from cache.upkeep.compaction import compact, drop_contradictions
from cache.upkeep.exchange import export, merge
from cache.upkeep.repair import repair, verify

POOLED, SIDE, RAGGED = FORMATS[0], FORMATS[1], FORMATS[3]


def commit(store: RowStore, name: str, *numbers: int, scale: float = 1.0, **extra: object) -> None:
    """Commits rows, each multiplied, under a segment's name that a writer has chosen."""
    made, values, beside = batch(store.format, *numbers)
    before = set(store.segments.names())
    scaled = [one * scale for one in values] if store.format.ragged else values * scale
    store.append(made, scaled, {**beside, **extra})
    (new,) = set(store.segments.names()) - before
    folder = Path(store.path) / "segments"
    (folder / new).rename(folder / name)
    store.refresh()


def near(row_format) -> float:
    """A factor that no type rounds away and that copies may differ by."""
    return 1 + (2**-7 if row_format.dtype == "bfloat16" else 2**-9)


@pytest.mark.parametrize("row_format", FORMATS, ids=str)
def test_no_name_decides_which_copy_is_read(tmp_path, row_format):
    read = []
    for number, scales in enumerate(itertools.permutations([1.0, near(row_format), 1 / near(row_format)])):
        store = open_store(tmp_path / str(number), row_format)
        for name, scale in zip(("000.zarr", "1-b.zarr", "zzz.zarr"), scales, strict=True):
            commit(store, name, 7, 8, 9, scale=scale)
        rows = RowStore.open(store.path).read_rows(keys(9, 7))
        read.append((rows.values.tobytes(), store.frames(keys(7, 8, 9))))
        assert verify(store.path) == []
        compact(store)
        assert store.read_rows(keys(9, 7)).values.tobytes() == read[-1][0]
        assert len(store) == 3 == sum(map(len, store.groups.values()))
    assert len(set(read)) == 1


@pytest.mark.parametrize("row_format", [POOLED, SIDE, RAGGED], ids=str)
@pytest.mark.parametrize("name", ["000.zarr", "zzz.zarr"])
def test_copies_that_contradict_each_other_are_named_and_never_read(tmp_path, row_format, name):
    store = open_store(tmp_path, row_format)
    commit(store, "1.zarr", *range(20, 30))
    commit(store, name, 25, scale=1 + 3 * TOLERANCE[row_format.dtype])
    commit(store, f"{name[0]}1.zarr", 40, 26)
    assert np.flatnonzero(store.contradictory(keys(*range(20, 30)))).tolist() == [5]
    store.read(keys(26, 27, 40))
    with pytest.raises(DamageError, match=r"differs from another row of the same key.*hearonce cache repair"):
        store.read(keys(24, 25))
    for refused in (
        lambda: export(store, tmp_path / "a.npz"),
        lambda: merge(store, open_store(tmp_path / "b", row_format)),
    ):
        with pytest.raises(UserError, match="differs from another row"):
            refused()
    compact(store)
    found = verify(store.path)
    assert [one.keys for one in found] == 2 * [tuple(keys(25))]
    shutil.copytree(store.path, tmp_path / "copy" / Path(store.path).name)
    assert repair(tmp_path / "copy" / Path(store.path).name, dry_run=True) == found
    assert repair(tmp_path / "copy" / Path(store.path).name) == found
    assert verify(tmp_path / "copy" / Path(store.path).name) == []
    assert drop_contradictions(store, keys(26, 27)) == []
    assert len(drop_contradictions(store)) == 2
    assert store.missing(keys(*range(20, 30), 40)) == keys(25)


def test_one_wrong_frame_side_value_or_length_is_a_contradiction(tmp_path):
    store = open_store(tmp_path, RAGGED)
    made, values, extra = batch(RAGGED, *range(10, 14))
    store.append(made, values, extra)
    frames = [np.array(one) for one in values]
    longest = max(range(4), key=lambda i: len(frames[i]))
    frames[longest][-1] *= -1
    others = [i for i in range(4) if i != longest]
    store.append(made[longest : longest + 1], [frames[longest]], {k: v[[longest]] for k, v in extra.items()})
    a, b = others[:2]
    store.append([made[a]], [np.concatenate([values[a], np.ones((1, 4))])], {k: v[[a]] for k, v in extra.items()})
    store.append([made[b]], [values[b]], {"gain": [extra["gain"][b]], "valid_frames": [extra["valid_frames"][b] + 1]})
    assert set(np.flatnonzero(store.contradictory(made)).tolist()) == {longest, a, b}


def test_copies_on_a_url_are_dropped_only_with_the_one_that_is_read(tmp_path):
    store = open_store(f"memory://{tmp_path.name}")
    for scale in (1.0, 1.001, 0.999):
        made, values, _ = batch(POOLED, 1, 2)
        store.append(made, values * scale)
    before = store.read(keys(1, 2))
    compact(store, segment_bytes=2 * 2 * POOLED.row_bytes)  # two of the three together
    np.testing.assert_array_equal(store.read(keys(1, 2)), before)
    compact(store)
    np.testing.assert_array_equal(store.read(keys(1, 2)), before)
    assert sum(map(len, store.groups.values())) == 2


def test_a_store_without_copies_reads_no_row_to_settle_them(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    store.append(*batch(POOLED, 1, 2))
    store.append(*batch(POOLED, 3))
    monkeypatch.setattr(type(store.catalog), "_read", lambda *_: pytest.fail("read a row"))
    assert not store.contradictory(keys(1, 2, 3)).any()
    assert not len(store.catalog.copies.first)


def test_merge_takes_no_row_that_import_refuses(tmp_path, monkeypatch):
    source = open_store(tmp_path / "a")
    source.append(*batch(POOLED, 1, 2))
    with monkeypatch.context() as patch:
        patch.setattr("cache.rows.Rows.check", lambda *_: None)
        source.append(keys(3), np.full((1, 8), np.nan))
    target = open_store(tmp_path / "b")
    with pytest.raises(UserError, match=rf"{Path(source.path)} was refused: row 0 \(key .*\) is not finite"):
        merge(source, target)
    assert target.missing(keys(1, 2, 3)) == keys(3)
    (damage,) = verify(source.path)
    assert damage.keys == tuple(keys(3)) and "not finite" in str(damage)
    repair(source.path)
    assert source.missing(keys(1, 2, 3)) == keys(3) or RowStore.open(source.path).missing(keys(1, 2, 3)) == keys(3)
