import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from cache_samples import FINGERPRINT, FORMATS, assert_rows, batch, keys, open_store, values
from waiting import wait_until

from cache.durable import clean_abandoned
from cache.errors import UserError
from cache.json_documents import CHECKSUM, seal
from cache.keys import KeyIndex, pack_keys, unpack_keys
from cache.row_store import RowStore
from cache.rows import RowFormat

ROW = FORMATS[0]


@pytest.mark.parametrize("row_format", FORMATS, ids=str)
def test_rows_come_back_in_the_order_asked_for(tmp_path, row_format):
    store = open_store(tmp_path, row_format)
    store.append(*batch(row_format, 1, 2, 3))
    store.append(*batch(row_format, 4, 5))
    assert_rows(store, 5, 1, 4, 1)
    assert_rows(RowStore.open(store.path), 3, 2)
    assert_rows(open_store(tmp_path, row_format))
    assert unpack_keys(store.keys()) == keys(1, 2, 3, 4, 5)
    tensors = store.read_rows(keys(2, 5)).torch()
    assert tensors[0].dtype == getattr(torch, row_format.dtype)
    for tensor, expected in zip(tensors, values(row_format, 2, 5), strict=True):
        np.testing.assert_array_equal(tensor.float().numpy(), expected.astype(np.float32))


def test_missing_keeps_the_order_and_names_each_key_once(tmp_path):
    store = open_store(tmp_path)
    assert store.missing(keys(2, 1, 2)) == keys(2, 1)
    store.append(*batch(ROW, 1))
    assert store.missing(keys(3, 1, 2, 3)) == keys(3, 2)
    assert store.missing(pack_keys(keys(3, 1, 2, 3))) == keys(3, 2)
    assert store.missing([]) == []


def test_reading_an_absent_key_is_an_error(tmp_path):
    store = open_store(tmp_path)
    store.append(*batch(ROW, 1))
    with pytest.raises(KeyError, match="lacks 1 of 2"):
        store.read(keys(1, 2))


def test_a_key_written_twice_is_one_row(tmp_path):
    store = open_store(tmp_path)
    store.append(*batch(ROW, 1, 2))
    store.append(*batch(ROW, 2, 3))
    assert_rows(store, 2, 3)
    assert len(store) == 3


def test_another_writers_rows_are_seen_after_refresh(tmp_path):
    mine, yours = open_store(tmp_path), open_store(tmp_path)
    assert mine.missing(keys(1)) == keys(1)
    yours.append(*batch(ROW, 1))
    assert mine.missing(keys(1)) == keys(1)
    mine.refresh()
    assert mine.missing(keys(1)) == []


def test_keys_that_share_their_first_half_are_told_apart():
    packed = np.zeros((6, 16), np.uint8)
    packed[:, 15] = [3, 1, 2, 1, 3, 9]
    index = KeyIndex([packed[:3], packed[3:]])
    assert index.find(packed).tolist() == [0, 1, 2, 1, 0, 5]
    assert index.first_rows().tolist() == [True, True, True, False, False, True]
    assert index.find([b"\0" * 16, b"\1" * 16]).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 9), np.float32), r"shape \(2, 9\), expected \(2, 8\)"),
        (np.zeros((1, 8), np.float32), r"shape \(1, 8\), expected \(2, 8\)"),
        (np.full((2, 8), np.nan, np.float32), r"row 0 \(key .*\) is not finite"),
        (np.stack([np.zeros(8), np.full(8, np.inf)]), r"row 1 \(key .*\) is not finite"),
    ],
)
def test_a_bad_batch_writes_nothing(tmp_path, rows, message):
    store = open_store(tmp_path)
    with pytest.raises(UserError, match=message):
        store.append(keys(1, 2), rows)
    with pytest.raises(UserError, match="twice"):
        store.append(*batch(ROW, 1, 1))
    assert not (tmp_path / store.path / "segments").exists()


def test_rows_of_another_kind_are_refused(tmp_path):
    store = open_store(tmp_path)
    with pytest.raises(UserError, match="holds rows of 8 float32, not of 9 float32"):
        open_store(tmp_path, RowFormat(9))
    with pytest.raises(UserError, match="not of 8 float16"):
        open_store(tmp_path, RowFormat(8, "float16"))
    with pytest.raises(UserError, match=r"not of frames × 8 float32 \+ level \(int32\)"):
        open_store(tmp_path, RowFormat(8, "float32", True, {"level": "int32"}))
    shutil.move(store.path, tmp_path / f"clips-{'cd' * 16}")
    with pytest.raises(UserError, match=f"holds rows of fingerprint {FINGERPRINT}, not of {'cd' * 16}"):
        RowStore.ensure(tmp_path, "clips", "cd" * 16, ROW)


@pytest.mark.parametrize(("version", "message"), [(99, "has version 99, .* update hearonce"), (1, "early hearonce")])
def test_a_store_of_another_version_is_refused(tmp_path, version, message):
    path = Path(open_store(tmp_path).path) / "store.json"
    found = json.loads(path.read_text())
    path.write_bytes(seal({**found, "schema": version, CHECKSUM: "0" * 8}))
    with pytest.raises(UserError, match=message):
        open_store(tmp_path)


def test_a_folder_that_is_no_store_is_said_to_be_none(tmp_path):
    for path in (tmp_path, tmp_path / "none", __file__):
        with pytest.raises(UserError, match="is no row store"):
            RowStore.open(path)
    with pytest.raises(UserError, match="cannot be opened"):
        RowStore.open("nonsense://rows")


def test_a_store_that_vanished_is_not_made_anew(tmp_path):
    store = open_store(tmp_path)
    store.append(*batch(ROW, 1))
    shutil.rmtree(store.path)
    for attempt in (lambda: store.append(*batch(ROW, 2)), store.refresh):
        with pytest.raises(UserError, match="has vanished"):
            attempt()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that takes no files")
def test_a_place_that_takes_no_files_is_one_sentence():
    with pytest.raises(UserError, match="was not written: "):
        open_store("/proc/self/rows")


def _append_within(root, limit):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    store = open_store(root)
    try:
        for start in range(0, 100_000, 1000):
            store.append(*batch(ROW, *range(start, start + 1000)))
    except UserError as error:
        (root / "said").write_text(str(error))


def test_a_full_disk_is_one_sentence_and_leaves_whole_rows(tmp_path):
    writer = multiprocessing.get_context("fork").Process(target=_append_within, args=(tmp_path, 20_000))
    writer.start()
    writer.join()
    assert "would exceed the size" in (tmp_path / "said").read_text()
    store = open_store(tmp_path)
    assert len(store) == 0
    assert list(Path(store.path).glob("scratch/.*")) == []


def test_plain_zarr_reads_a_segment(tmp_path):
    store = open_store(tmp_path, FORMATS[3])
    store.append(*batch(FORMATS[3], 1, 2), provenance={"device": "cpu"})
    (segment,) = Path(store.path).glob("segments/*.zarr")
    group = zarr.open_group(segment, mode="r")
    assert sorted(group) == ["keys", "offsets", "side.gain", "side.valid_frames", "values"]
    offsets = group["offsets"][...]
    for i, expected in enumerate(values(FORMATS[3], 1, 2)):
        np.testing.assert_array_equal(group["values"][offsets[i] : offsets[i + 1]], expected)
    assert bytes(group["keys"][1]) == keys(2)[0]
    assert group.attrs["hearonce"]["provenance"] == {"device": "cpu"}


@pytest.mark.parametrize("row_format", FORMATS, ids=str)
def test_a_store_works_on_a_url(tmp_path, row_format):
    root = f"memory://{tmp_path.name}"
    store = open_store(root, row_format)
    store.append(*batch(row_format, 1, 2))
    store.append(*batch(row_format, 2, 3))
    other = RowStore.open(store.path)
    assert other.missing(keys(1, 2, 3, 4)) == keys(4)
    assert_rows(other, 3, 1, 2)
    assert store.path.startswith("memory://")


def test_a_segment_on_a_url_counts_once_its_description_is_there(tmp_path):
    store = open_store(f"memory://{tmp_path.name}")
    store.append(*batch(ROW, 1, 2))
    (name,) = store.segments.names()
    location = store.segments.location(name)
    location.filesystem.rm(f"{location.path}/zarr.json")
    assert RowStore.open(store.path).missing(keys(1)) == keys(1)


def test_a_writer_commits_by_rows_bytes_and_time_and_at_its_end(tmp_path):
    store = open_store(tmp_path)

    def segments():
        return len(store.segments.names())

    with pytest.raises(RuntimeError), store.writer({"device": "cpu"}, rows=3) as writer:
        writer.add(*batch(ROW, 1, 2))
        assert (segments(), writer.committed) == (0, 0)
        writer.add(*batch(ROW, 3))
        assert (segments(), writer.committed) == (1, 3)
        writer.add(*batch(ROW, 4))
        raise RuntimeError
    assert_rows(store, 1, 2, 3, 4)
    with store.writer(nbytes=64) as writer:
        writer.add(*batch(ROW, 5))
        writer.add(*batch(ROW, 6))
        assert segments() == 3
        writer.add(*batch(ROW, 7))
        with pytest.raises(UserError, match="twice"):
            writer.add(*batch(ROW, 7))
    with store.writer(seconds=0.0) as writer:
        writer.add(*batch(ROW, 8))
        assert segments() == 4


def test_what_dead_writers_left_is_removed_and_what_living_ones_write_is_not(tmp_path):
    store = open_store(tmp_path)
    scratch = Path(store.path) / "scratch"
    child = multiprocessing.get_context("fork").Process(target=_leave_unfinished, args=(tmp_path,))
    child.start()
    child.join()
    (left,) = scratch.iterdir()
    foreign = scratch / f".x.zarr.01234567-1-{'0' * 12}.part"
    foreign.mkdir()
    with store.segments.new() as mine:
        open_store(tmp_path)
        assert sorted(scratch.iterdir()) == sorted([mine, foreign])
        assert not left.exists()
    os.utime(foreign, (1, 1))
    clean_abandoned(scratch)
    assert list(scratch.iterdir()) == []


def _leave_unfinished(root):
    store = open_store(root)
    with store.segments.new():
        os._exit(1)


def _write_forever(root, first):
    store = open_store(root)
    for number in range(first, first + 100_000, 4):
        store.append(*batch(ROW, *range(number, number + 4)))


def test_a_killed_writer_loses_no_committed_row_and_leaves_no_half_one(tmp_path):
    context = multiprocessing.get_context("fork")
    seen = 0
    for attempt in range(6):
        writer = context.Process(target=_write_forever, args=(tmp_path, attempt * 1000))
        writer.start()
        if attempt % 2:
            wait_until(lambda seen=seen: len(open_store(tmp_path)) > seen, writer)
        time.sleep(0.03 * attempt)
        before = open_store(tmp_path)
        gone = set(before.missing(keys(*range(attempt * 1000, attempt * 1000 + 1000))))
        committed = [n for n in range(attempt * 1000, attempt * 1000 + 1000) if keys(n)[0] not in gone]
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        after = open_store(tmp_path)
        assert_rows(after, *committed)
        gone = set(after.missing(keys(*range(6000))))
        assert_rows(after, *(n for n in range(6000) if keys(n)[0] not in gone))
        seen = len(after)
    assert len(open_store(tmp_path)) > 0
