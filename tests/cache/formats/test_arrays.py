from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import DamageError
from cache.formats import zarr_reader as array_reader
from cache.formats.zarr_array import ArraySpec, ArrayWriter
from cache.formats.zarr_foreign import PlainArray
from cache.formats.zarr_reader import ShardedArray
from cache.formats.zarr_strings import read_strings, strings_document, write_strings
from cache.location import LocalLocation, location_of

DTYPES = ["uint8", "<u2", "<f2", "<f4", "<f8", "<i8"]
arrays = st.tuples(
    st.integers(0, 60), st.sampled_from([(), (1,), (3,)]), st.sampled_from(DTYPES), st.integers(1, 5), st.integers(1, 4)
)


def write(folder: Path, drawn, block: int) -> tuple[np.ndarray, ArraySpec]:
    n, width, dtype, chunk, per_shard = drawn
    array = np.random.default_rng(n).integers(0, 100, (n, *width)).astype(dtype)
    spec = ArraySpec(array.shape, np.dtype(dtype), chunk, chunk * per_shard)
    writer = ArrayWriter(folder, spec)
    for start in range(0, n, block):
        writer.append(array[start : start + block])
    writer.close()
    return array, spec


@settings(max_examples=80, deadline=None)
@given(arrays, st.integers(1, 70), st.integers(1, 40), st.data())
def test_we_and_plain_zarr_read_the_same(tmp_path_factory, drawn, block, slots, data):
    folder = tmp_path_factory.mktemp("array") / "values"
    array, spec = write(folder, drawn, block)
    plain = zarr.open_array(folder, mode="r")
    np.testing.assert_array_equal(plain[...], array)
    assert plain.dtype == array.dtype
    ours, theirs = (
        ShardedArray(LocalLocation(folder), spec, "values"),
        PlainArray(LocalLocation(folder), "values", array.shape, array.dtype),
    )
    ours._slots = slots
    start = data.draw(st.integers(0, len(array)))
    stop = data.draw(st.integers(start, len(array)))
    wanted = np.array(data.draw(st.lists(st.integers(0, len(array) - 1), max_size=30)) if len(array) else [], np.int64)
    for one in (ours, theirs):
        np.testing.assert_array_equal(one.read(start, stop), array[start:stop])
        np.testing.assert_array_equal(one.take(wanted), array[wanted])
        assert one.read().dtype == array.dtype
        assert one.damages() == []
    assert ArraySpec.from_document(spec.document()) == spec


@pytest.mark.parametrize("n", [1, 7, 100])
def test_the_size_of_appended_blocks_does_not_show(tmp_path, n):
    drawn = (100, (3,), "<f4", 4, 5)
    write(tmp_path / "whole", drawn, 100)
    write(tmp_path / "parts", drawn, n)
    for one in (tmp_path / "whole").iterdir():
        assert one.read_bytes() == (tmp_path / "parts" / one.name).read_bytes()


def test_rows_more_or_fewer_than_announced_are_refused(tmp_path):
    spec = ArraySpec((4, 2), np.dtype("<f4"), 2, 4)
    with pytest.raises(ValueError, match="more than the 4"):
        ArrayWriter(tmp_path / "a", spec).append(np.zeros((5, 2), np.float32))
    with pytest.raises(ValueError, match="0 of the 4"):
        ArrayWriter(tmp_path / "b", spec).close()
    with pytest.raises(ValueError, match="do not fit"):
        ArrayWriter(tmp_path / "c", spec).append(np.zeros((4, 2)))


def test_what_another_program_wrote_is_no_array_of_ours(tmp_path):
    theirs = zarr.create_array(tmp_path / "a", shape=(9, 2), dtype="f4", chunks=(3, 2))
    assert ArraySpec.from_document(theirs.metadata.to_dict()) is None
    assert ArraySpec.from_document({}) is None


def test_every_bit_of_a_shard_is_guarded(tmp_path):
    array, spec = write(tmp_path / "a", (10, (2,), "<f2", 2, 3), 10)
    for shard in sorted((tmp_path / "a").glob("c.*")):
        good = shard.read_bytes()
        for byte in range(len(good)):
            bad = bytearray(good)
            bad[byte] ^= 1 << (byte % 8)
            shard.write_bytes(bad)
            reader = ShardedArray(LocalLocation(tmp_path / "a"), spec, "a")
            assert reader.damages()
            with pytest.raises(DamageError):
                reader.read()
        shard.write_bytes(good)
    np.testing.assert_array_equal(ShardedArray(LocalLocation(tmp_path / "a"), spec, "a").read(), array)


def test_a_shard_cut_short_after_it_was_checked_is_no_crash(tmp_path):
    _, spec = write(tmp_path / "a", (12, (2,), "<f4", 2, 6), 12)
    reader = ShardedArray(LocalLocation(tmp_path / "a"), spec, "a")
    reader.read()
    with open(tmp_path / "a" / "c.0.0", "r+b") as file:
        file.truncate(40)
    with pytest.raises(DamageError, match=r"a/c.0.0 \(rows 0 to 11\) is cut short"):
        reader.read()


def test_remote_rows_are_those_of_the_disk(tmp_path, monkeypatch):
    array, spec = write(tmp_path / "a", (50, (3,), "<f4", 2, 4), 50)
    monkeypatch.setattr(array_reader, "_REMOTE_BYTES", 3 * spec.stride)
    location = location_of("memory://arrays/a")
    location.filesystem.put(str(tmp_path / "a"), location.path, recursive=True)
    remote = ShardedArray(location, spec, "a")
    np.testing.assert_array_equal(remote.read(3, 41), array[3:41])
    np.testing.assert_array_equal(remote.take(np.array([49, 0, 7, 7])), array[[49, 0, 7, 7]])
    assert remote.damages() == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=20))
def test_strings_come_back(tmp_path_factory, strings):
    folder = tmp_path_factory.mktemp("strings") / "ids"
    write_strings(folder, strings)
    assert read_strings(LocalLocation(folder), len(strings), "ids") == strings
    assert zarr.open_array(folder, mode="r")[...].tolist() == strings
    assert strings_document(len(strings))["shape"] == [len(strings)]
