import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from cache_samples import FINGERPRINT, assert_rows, batch, files, keys, open_store

from cache.errors import DamageError, UserError
from cache.keys import unpack_keys
from cache.row_store import RowStore
from cache.rows import RowFormat
from cache.upkeep.repair import repair, verify

FORMATS = [RowFormat(64, "float16", False, {"level": "int32"}), RowFormat(64, "float16", True, {"level": "int32"})]
N = 600


def flip(data: bytearray, draw: random.Random) -> None:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def grow(data: bytearray, draw: random.Random) -> None:
    data += b"?"


def blank(data: bytearray, draw: random.Random) -> None:
    data[:] = bytes(len(data))


def make(root: Path, row_format: RowFormat) -> Path:
    store = open_store(root, row_format)
    for first, last in ((0, 400), (400, 401), (401, N)):
        store.append(*batch(row_format, *range(first, last)), provenance={"device": "cpu"})
    return Path(store.path)


@pytest.mark.parametrize("row_format", FORMATS, ids=str)
def test_damage_anywhere_is_found_and_costs_only_the_rows_it_touched(tmp_path, row_format):
    draw = random.Random(0)
    whole = make(tmp_path / "whole", row_format)
    for file in files(whole):
        for damage in (flip, draw.choice((cut, grow, blank, None))):
            if damage is None and file.name == "store.json":
                continue
            path = tmp_path / "work" / whole.name
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(whole, path)
            target = path / file.relative_to(whole)
            data = bytearray(target.read_bytes())
            if damage is None:
                target.unlink()
            else:
                damage(data, draw)
                target.write_bytes(data)
            found = verify(path)
            assert found, (file, damage)
            assert {str(one.file) for one in found} == {str(file.relative_to(whole))}
            repair(path)
            assert verify(path) == []
            store = open_store(path.parent, row_format)
            lost = store.missing(keys(*range(N)))
            assert set(lost) >= {key for one in found for key in one.keys}
            if file.name in ("zarr.json", "store.json") or damage is grow:
                assert lost == []
            gone = set(lost)
            assert_rows(store, *(n for n in range(N) if keys(n)[0] not in gone))


def test_one_flipped_bit_costs_one_chunk_and_is_named(tmp_path):
    path = make(tmp_path, FORMATS[0])
    segment = sorted(path.glob("segments/*"))[0]
    shard = segment / "values" / "c.0.0"
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(data)
    file = f"segments/{segment.name}/values/c.0.0"
    store = RowStore.open(path)
    with pytest.raises(DamageError, match=rf"{file} \(rows 0 to 255\) does not match its checksum: run `hearonce"):
        store.read(keys(3))
    assert_rows(store, 256, 399, 500)
    (damage,) = verify(path)
    assert (damage.file, damage.rows, list(damage.keys)) == (file, (0, 256), keys(*range(256)))
    assert repair(path, dry_run=True) == [damage]
    assert verify(path) == [damage]
    assert repair(path) == [damage]
    assert store.missing(keys(*range(N))) == []
    store.refresh()
    assert store.missing(keys(*range(N))) == keys(*range(256))
    assert unpack_keys(store.keys())[:2] == keys(256, 257)
    store.append(*batch(FORMATS[0], *range(256)))
    assert_rows(store, *range(N))


def test_damaged_keys_in_every_segment_do_not_keep_one_another_from_repair(tmp_path):
    path = make(tmp_path, FORMATS[0])
    open_store(tmp_path, FORMATS[0]).append(*batch(FORMATS[0], 1000))
    for keys_of in sorted(path.glob("segments/*/keys/c.0.0"))[:3]:
        keys_of.write_bytes(bytes(keys_of.stat().st_size))
    assert len(repair(path)) == 3
    assert unpack_keys(RowStore.open(path).keys()) == keys(1000)


def test_several_damages_at_once(tmp_path):
    path = make(tmp_path, FORMATS[1])
    first, second, third = sorted(path.glob("segments/*"))
    (path / "store.json").write_bytes(b"{")
    (first / "zarr.json").unlink()
    (first / "values" / "zarr.json").unlink()
    (second / "keys" / "c.0.0").unlink()
    (third / "offsets" / "zarr.json").write_text("")
    with pytest.raises(DamageError, match=r"store.json does not match its checksum: run `hearonce cache repair"):
        RowStore.open(path)
    assert len(verify(path)) == 5
    repair(path)
    store = open_store(tmp_path, FORMATS[1])
    assert store.missing(keys(*range(N))) == keys(*range(401))
    assert store.description.identity == {"version": 1}
    assert_rows(store, *range(401, N))


def test_a_store_of_which_nothing_is_intact_says_so(tmp_path):
    path = make(tmp_path, FORMATS[0])
    for file in path.rglob("*.json"):
        file.write_bytes(b"")
    assert len(verify(path)) == 1
    with pytest.raises(UserError, match=r"damaged store.json and no intact segment: delete it"):
        repair(path)
    with pytest.raises(UserError, match="is no row store"):
        verify(tmp_path)


def test_a_segment_missing_a_file_is_named_on_reading(tmp_path):
    path = make(tmp_path, FORMATS[0])
    segment = sorted(path.glob("segments/*"))[0]
    store = RowStore.open(path)
    store.refresh()
    (segment / "values" / "c.0.0").unlink()
    with pytest.raises(DamageError, match=rf"segments/{segment.name}/values/c.0.0 is missing: run `hearonce"):
        store.read(keys(3))
    (segment / "keys" / "c.0.0").unlink()
    with pytest.raises(DamageError, match=rf"segments/{segment.name}/keys/c.0.0 is missing: run `hearonce"):
        RowStore.open(path).refresh()
    (segment / "zarr.json").unlink()
    with pytest.raises(DamageError, match=rf"segments/{segment.name}/zarr.json is missing: run `hearonce"):
        RowStore.open(path).refresh()
    assert np.isin(keys(1), [key for damage in repair(path) for key in damage.keys]).sum() == 0
    assert_rows(RowStore.open(path), *range(400, N))


@pytest.mark.parametrize("row_format", FORMATS, ids=str)
def test_a_segment_still_being_uploaded_is_left_alone(tmp_path, monkeypatch, row_format):
    store = open_store(f"memory://{tmp_path.name}", row_format)
    store.append(*batch(row_format, 1, 2))
    filesystem = store.segments.location("").filesystem
    put, looked = filesystem.put_file, []

    def put_and_look(source, target):
        put(source, target)
        if not target.endswith(".zarr/zarr.json"):
            looked.append(verify(store.path) + repair(store.path))

    monkeypatch.setattr(filesystem, "put_file", put_and_look)
    store.append(*batch(row_format, 3, 4))
    assert len(looked) > 3
    assert not any(looked)
    assert_rows(open_store(f"memory://{tmp_path.name}", row_format), 1, 2, 3, 4)


@pytest.mark.parametrize("lost", [False, True], ids=["", "store.json lost"])
def test_a_segment_of_another_store_is_refused_and_dropped(tmp_path, lost):
    path = make(tmp_path, FORMATS[0])
    for number, (fingerprint, row_format) in enumerate((("c" * 32, FORMATS[0]), (FINGERPRINT, RowFormat(8)))):
        other = RowStore.ensure(tmp_path / str(number), "clips", fingerprint, row_format)
        other.append(*batch(row_format, N + number))
        (segment,) = Path(other.path).glob("segments/*")
        shutil.copytree(segment, path / "segments" / f"{number:020d}-foreign.zarr")
    with pytest.raises(DamageError, match=r"foreign.zarr/zarr.json .* belongs to another store"):
        RowStore.open(path).refresh()
    if lost:
        (path / "store.json").write_bytes(b"")
    assert [one.file.split("/")[-1] for one in verify(path)] == ["store.json"] * lost + ["zarr.json"] * 2
    repair(path)
    assert verify(path) == []
    store = open_store(tmp_path, FORMATS[0])
    assert len(store) == N
    assert_rows(store, *range(N))
