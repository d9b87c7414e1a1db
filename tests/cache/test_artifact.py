import json
import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import zarr
from cache_samples import FORMATS, any_format, batch, digests, extra_values, files, keys, open_store, values
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.artifact import Artifact, convert, open_artifact, write_artifact
from cache.errors import DamageError, UserError
from cache.json_documents import CHECKSUM, seal
from cache.keys import caption_key, unpack_keys
from cache.row_store import RowStore
from cache.rows import RowFormat

DESCRIPTION = {"modality": "clips", "encoder": "tiny", "fingerprint": "ab" * 16}
SUFFIXES = ["zarr", "h5"]
every_format = pytest.mark.parametrize("row_format", FORMATS, ids=str)


@pytest.fixture(params=SUFFIXES)
def suffix(request) -> str:
    return request.param


def store_of(root: Path, row_format: RowFormat, n: int = 30) -> RowStore:
    store = open_store(root, row_format)
    for first in range(0, n, 11):
        store.append(*batch(row_format, *range(first, min(n, first + 11))))
    return store


def write(path: Path, numbers, store: RowStore) -> Artifact:
    write_artifact(path, [f"clip é {number}" for number in numbers], keys(*numbers), store, DESCRIPTION)
    return open_artifact(path)


def assert_holds(artifact: Artifact, *numbers: int) -> None:
    expected = values(artifact.format, *numbers)
    assert artifact.ids == [f"clip é {number}" for number in numbers]
    assert unpack_keys(artifact.keys) == keys(*numbers)
    assert len(artifact) == len(numbers)
    assert [len(part) for part in artifact.blocks(4)] == [len(numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
    whole = np.concatenate(expected) if artifact.format.ragged else np.array(expected)
    whole = whole.reshape(-1, artifact.format.dim)
    np.testing.assert_array_equal(artifact.numpy(), whole)
    np.testing.assert_array_equal(artifact.dask(16).compute(), whole)
    tensor = artifact.torch()
    assert tensor.dtype == getattr(torch, artifact.format.dtype)
    np.testing.assert_array_equal(tensor.float().numpy(), whole.astype(np.float32))
    assert artifact.shape == whole.shape
    for selection in (slice(1, 7), slice(None, None, -2), [2, 0, 2], np.arange(len(numbers)) % 3 == 0):
        wanted = np.arange(len(numbers))[selection]
        for got, number in zip(artifact[selection], wanted, strict=True):
            np.testing.assert_array_equal(got, expected[number])
    np.testing.assert_array_equal(artifact[-1], expected[-1])
    for name, column in extra_values(artifact.format, *numbers).items():
        np.testing.assert_array_equal(artifact.extra[name], column)
        np.testing.assert_array_equal(artifact.rows([3, 1]).extra[name], column[[3, 1]])
    assert artifact.verify() == []


@every_format
def test_rows_ids_keys_and_side_values_stand_in_table_order(tmp_path, row_format, suffix):
    numbers = [7, 3, 21, 3, *range(10, 20)]
    artifact = write(tmp_path / f"a.{suffix}", numbers, store_of(tmp_path / "rows", row_format))
    assert_holds(artifact, *numbers)
    assert artifact.description == DESCRIPTION
    with pytest.raises(IndexError):
        artifact.row(len(numbers))


@every_format
def test_an_artifact_opens_from_a_url(tmp_path, row_format, suffix):
    import fsspec

    numbers = list(range(12))
    artifact = write(tmp_path / f"a.{suffix}", numbers, store_of(tmp_path / "rows", row_format))
    memory = fsspec.filesystem("memory")
    memory.put(artifact.path, f"/{tmp_path.name}/a.{suffix}", recursive=True)
    assert_holds(open_artifact(f"memory://{tmp_path.name}/a.{suffix}"), *numbers)
    there = open_artifact(f"/{tmp_path.name}/a.{suffix}", memory)
    assert_holds(there, *numbers)
    assert_holds(pickle.loads(pickle.dumps(there)), *numbers)
    assert_holds(open_artifact(f"file://{artifact.path}"), *numbers)


def test_an_artifact_goes_to_other_processes(tmp_path, monkeypatch, suffix):
    artifact = write(tmp_path / f"a.{suffix}", range(12), store_of(tmp_path / "rows", FORMATS[1]))
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(open_artifact(f"a.{suffix}"))
    monkeypatch.chdir("/")
    assert_holds(pickle.loads(pickled), *range(12))
    np.testing.assert_array_equal(artifact.dask(40).compute(scheduler="processes", num_workers=1), artifact.numpy())


@every_format
def test_the_same_rows_give_the_same_bytes_whatever_the_history(tmp_path, row_format, suffix):
    store = store_of(tmp_path / "rows", row_format)
    write(tmp_path / f"a.{suffix}", range(30), store)
    other = open_store(tmp_path / "other", row_format)
    for number in reversed(range(30)):
        other.append(*batch(row_format, number), provenance={"device": "another"})
    time.sleep(1.1 if suffix == "h5" and row_format is FORMATS[0] else 0)  # a timestamp of HDF5 would show
    write(tmp_path / f"b.{suffix}", range(30), other)
    assert digests(tmp_path / f"a.{suffix}") == digests(tmp_path / f"b.{suffix}")


def test_another_process_writes_the_same_bytes(tmp_path, suffix):
    store = store_of(tmp_path / "rows", FORMATS[3])
    write(tmp_path / f"a.{suffix}", range(30), store)
    program = (
        "import sys; from cache.row_store import RowStore; from cache.artifact import write_artifact\n"
        "store = RowStore.open(sys.argv[1])\n"
        "ids = [f'clip é {n}' for n in range(30)]\n"
        f"write_artifact(sys.argv[2], ids, store.keys(), store, {DESCRIPTION})"
    )
    subprocess.run([sys.executable, "-c", program, store.path, tmp_path / f"b.{suffix}"], check=True)
    assert digests(tmp_path / f"a.{suffix}") == digests(tmp_path / f"b.{suffix}")


@settings(max_examples=25, deadline=None)
@given(any_format, st.lists(st.integers(0, 40), max_size=12), st.sampled_from(SUFFIXES))
def test_conversion_and_back_gives_the_original_bytes(tmp_path_factory, row_format, numbers, suffix):
    folder = tmp_path_factory.mktemp("convert")
    store = open_store(folder / "rows", row_format)
    store.append(*batch(row_format, *dict.fromkeys(numbers)))
    first = write(folder / f"a.{suffix}", numbers, store)
    other = "h5" if suffix == "zarr" else "zarr"
    convert(first, folder / f"b.{other}")
    convert(open_artifact(folder / f"b.{other}"), folder / f"c.{suffix}")
    assert digests(folder / f"a.{suffix}") == digests(folder / f"c.{suffix}")
    write(folder / f"d.{other}", numbers, store)
    assert digests(folder / f"b.{other}") == digests(folder / f"d.{other}")


def test_rows_added_at_the_end_change_the_last_shards_only(tmp_path, monkeypatch):
    monkeypatch.setattr("cache.formats.zarr_array.VALUE_CHUNK_BYTES", 128)
    monkeypatch.setattr("cache.formats.zarr_group.ARTIFACT_SHARD_BYTES", 512)
    store = store_of(tmp_path / "rows", FORMATS[0], 200)
    write(tmp_path / "a.zarr", range(150), store)
    write(tmp_path / "b.zarr", range(160), store)
    before, after = digests(tmp_path / "a.zarr"), digests(tmp_path / "b.zarr")
    changed = {name for name in after if after[name] != before.get(name)}
    metadata = {"zarr.json", "ids/zarr.json", "keys/zarr.json", "values/zarr.json"}
    assert changed == metadata | {"ids/c.0", "keys/c.0.0", "values/c.9.0"}


def test_an_old_artifact_is_replaced_not_written_into(tmp_path, suffix):
    store = store_of(tmp_path / "rows", FORMATS[0])
    artifact = write(tmp_path / f"a.{suffix}", range(10), store)
    kept = max(files(Path(artifact.path)), key=lambda file: file.stat().st_size)
    link = tmp_path / "linked"
    link.hardlink_to(kept)
    before = link.read_bytes()
    write(tmp_path / f"a.{suffix}", range(20), store)
    assert link.read_bytes() == before
    assert len(open_artifact(tmp_path / f"a.{suffix}")) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"a.{suffix}", "linked", "rows"])


@every_format
def test_no_rows_make_an_artifact_too(tmp_path, row_format, suffix):
    artifact = write(tmp_path / f"a.{suffix}", [], open_store(tmp_path / "rows", row_format))
    assert artifact.numpy().shape == (0, row_format.dim)
    assert (artifact.ids, artifact.verify(), list(artifact.blocks())) == ([], [], [])


def test_plain_zarr_opens_it(tmp_path):
    write(tmp_path / "a.zarr", range(30), store_of(tmp_path / "rows", FORMATS[0]))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    np.testing.assert_array_equal(group["values"][...], np.array(values(FORMATS[0], *range(30))))
    assert group["ids"][29] == "clip é 29"
    assert bytes(group["keys"][29]) == caption_key("29")
    assert group.attrs["hearonce"]["encoder"] == "tiny"
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr" / "values", mode="r")[3], group["values"][3])


def test_plain_h5py_opens_it(tmp_path):
    write(tmp_path / "a.h5", range(30), store_of(tmp_path / "rows", FORMATS[3]))
    with h5py.File(tmp_path / "a.h5") as file:
        assert sorted(file) == ["ids", "keys", "offsets", "side.gain", "side.valid_frames", "values"]
        assert file["ids"].asstr()[29] == "clip é 29"
        offsets = file["offsets"][...]
        expected = values(FORMATS[3], 29)[0]
        np.testing.assert_array_equal(file["values"][offsets[29] : offsets[30]], expected)
        assert all(file[name].fletcher32 for name in file)
        assert json.loads(file.attrs["hearonce"])["encoder"] == "tiny"


def test_what_other_programs_made_of_it_is_read_through_zarr(tmp_path):
    artifact = write(tmp_path / "a.zarr", range(30), store_of(tmp_path / "rows", FORMATS[3]))
    original = zarr.open_group(tmp_path / "a.zarr", mode="r")
    packed = zarr.create_group(tmp_path / "b.zarr", attributes=dict(original.attrs))
    for name in original:
        shape, dtype = original[name].shape, str if name == "ids" else original[name].dtype
        packed.create_array(name, shape=shape, dtype=dtype, chunks=(7,) * len(shape))[...] = original[name][...]
    other = open_artifact(tmp_path / "b.zarr")
    assert_holds(other, *range(30))
    (tmp_path / "b.zarr" / "values" / "c" / "0" / "0").write_bytes(b"?")
    assert other.verify()
    with pytest.raises(UserError, match="is damaged: values"):
        other.numpy()
    convert(artifact, tmp_path / "c.zarr")
    assert digests(tmp_path / "a.zarr") == digests(tmp_path / "c.zarr")


def said(path: Path) -> str:
    """What opening or verifying says."""
    try:
        return "; ".join(map(str, open_artifact(path).verify()))
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("row_format", [FORMATS[1], FORMATS[5]], ids=str)
def test_damage_anywhere_is_found_and_never_read(tmp_path, row_format, suffix):
    draw = random.Random(1)
    path = tmp_path / f"a.{suffix}"
    write(path, range(30), store_of(tmp_path / "rows", row_format))
    for file in files(path):
        good = file.read_bytes()
        bad = []
        for _ in range(150 if suffix == "h5" else 12):
            flipped = bytearray(good)
            flipped[draw.randrange(len(good))] ^= 1 << draw.randrange(8)
            bad.append(bytes(flipped))
        blank = bytearray(good)
        blank[len(good) // 2 :] = bytes(len(good) - len(good) // 2)
        for data in (*bad, good[: draw.randrange(len(good))], good[:-1], good + b"?", bytes(blank), b""):
            if data == good:
                continue
            file.write_bytes(data)
            try:
                artifact = open_artifact(path)
                assert artifact.verify(), file
                for got, expected in zip(artifact[:], values(row_format, *range(30)), strict=True):
                    np.testing.assert_array_equal(got, expected)
                assert artifact.ids[29] == "clip é 29"
            except DamageError as error:
                assert str(error).startswith(f"{path} is damaged: ")
                assert str(error).endswith(": delete it and run `dvc repro`.")
            except UserError as error:
                assert "is no embedding cache" in str(error), error
        file.unlink()
        assert any(word in said(path) for word in ("is missing", "is no embedding cache"))
        file.write_bytes(good)
    assert open_artifact(path).verify() == []


def test_a_flipped_bit_is_named_with_its_rows(tmp_path, suffix):
    wide = RowFormat(2048)
    path = tmp_path / f"a.{suffix}"
    write(path, range(30), store_of(tmp_path / "rows", wide))
    file = path if path.is_file() else path / "values" / "c.0.0"
    content = bytearray(file.read_bytes())
    content[bytes(content).find(np.array(values(wide, 9)[0]).tobytes())] ^= 4
    file.write_bytes(content)
    named = "a.h5" if suffix == "h5" else "values/c.0.0"
    with pytest.raises(DamageError, match=rf"a.{suffix} is damaged: {named} \(rows 8 to 11\) does not match its"):
        open_artifact(path).numpy()
    artifact = open_artifact(path)
    assert [damage.rows for damage in artifact.verify()] == [(8, 12)]
    np.testing.assert_array_equal(artifact[12:], np.array(values(wide, *range(12, 30))))


def test_what_is_missing_or_something_else_is_said(tmp_path):
    for name in ("none.zarr", "none.h5"):
        with pytest.raises(UserError, match="is missing: run `dvc repro`"):
            open_artifact(tmp_path / name)
    zarr.create_group(tmp_path / "other.zarr")
    h5py.File(tmp_path / "other.h5", "w").close()
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    for name in ("other.zarr", "other.h5", "text.h5", "folder"):
        with pytest.raises(UserError, match=f"{name} is no embedding cache"):
            open_artifact(tmp_path / name)
    newer = {"attributes": {"hearonce": {"schema": 99, CHECKSUM: "0" * 8}}, "zarr_format": 3}
    (tmp_path / "newer.zarr").mkdir()
    (tmp_path / "newer.zarr" / "zarr.json").write_bytes(seal(newer))
    with pytest.raises(UserError, match=r"has version 99, .* update hearonce"):
        open_artifact(tmp_path / "newer.zarr")


def test_what_cannot_be_written_leaves_nothing(tmp_path, suffix):
    store = store_of(tmp_path / "rows", FORMATS[0])
    with pytest.raises(KeyError):
        write(tmp_path / f"a.{suffix}", [1, 99999], store)
    for bad, message in (("a\0b", "NUL character"), ("\ud800", "no valid Unicode")):
        with pytest.raises(UserError, match=message):
            write_artifact(tmp_path / f"a.{suffix}", [bad], keys(1), store, DESCRIPTION)
    with pytest.raises(UserError, match=r"ends in .zarr, .h5 or .hdf5"):
        write_artifact(tmp_path / "a.npz", ["a"], keys(1), store, DESCRIPTION)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


@pytest.mark.parametrize("n", [200, 4100])
def test_room_is_reserved_for_all_ids_at_the_length_of_the_longest(tmp_path, n, monkeypatch):
    reserved = []
    allocate = os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", lambda file, at, size: (reserved.append(size), allocate(file, at, size)))
    ids = [*map(str, range(n - 1)), "é" * 500]
    store = store_of(tmp_path / "rows", FORMATS[0])
    write_artifact(tmp_path / "a.h5", ids, keys(1) * n, store, DESCRIPTION)
    assert open_artifact(tmp_path / "a.h5").ids == ids
    assert reserved[0] >= (tmp_path / "a.h5").stat().st_size


@pytest.mark.parametrize(
    "attributes",
    [None, [], {"hearonce": None}, {"hearonce": {"schema": 2}}, {"hearonce": {"schema": 2, "format": 1, "rows": 1}}],
    ids=str,
)
def test_a_strange_description_is_one_sentence(tmp_path, attributes):
    (tmp_path / "zarr.json").write_text(json.dumps({"node_type": "group", "attributes": attributes}))
    with pytest.raises(UserError, match=f"{tmp_path} is no embedding cache of hearonce"):
        open_artifact(tmp_path)
