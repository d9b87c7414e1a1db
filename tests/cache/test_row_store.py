import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import documents
from cache.errors import UserError
from cache.keys import caption_key
from cache.row_format import RowFormat
from cache.row_store import RowStore

FINGERPRINT = "ab" * 16
DIM = 8


def keys(*numbers: int) -> list[bytes]:
    return [caption_key(str(number)) for number in numbers]


def rows(*numbers: int) -> np.ndarray:
    return np.array([np.random.default_rng(number).standard_normal(DIM) for number in numbers], np.float32)


def open_store(root, dim=DIM) -> RowStore:
    return RowStore.ensure(root, "clips", FINGERPRINT, RowFormat(dim), {"version": 1})


def test_rows_come_back_in_the_order_asked_for(tmp_path):
    store = open_store(tmp_path)
    store.append(keys(1, 2, 3), rows(1, 2, 3))
    store.append(keys(4, 5), rows(4, 5))
    np.testing.assert_array_equal(store.read(keys(5, 1, 4, 1)), rows(5, 1, 4, 1))
    np.testing.assert_array_equal(open_store(tmp_path).read(keys(3, 2)), rows(3, 2))


def test_missing_keeps_the_order_and_names_each_key_once(tmp_path):
    store = open_store(tmp_path)
    assert store.missing(keys(2, 1, 2)) == keys(2, 1)
    store.append(keys(1), rows(1))
    assert store.missing(keys(3, 1, 2, 3)) == keys(3, 2)
    assert store.missing([]) == []


def test_reading_an_absent_key_is_an_error(tmp_path):
    with pytest.raises(KeyError, match="lacks 1 of 2"):
        store = open_store(tmp_path)
        store.append(keys(1), rows(1))
        store.read(keys(1, 2))


def test_of_a_key_written_twice_the_first_row_is_read(tmp_path):
    store = open_store(tmp_path)
    store.append(keys(1, 2), rows(1, 2))
    store.append(keys(2, 3), rows(7, 3))
    np.testing.assert_array_equal(store.read(keys(2, 3)), rows(2, 3))
    assert store.missing(keys(1, 2, 3)) == []


def test_another_writers_rows_are_seen_after_refresh(tmp_path):
    mine, yours = open_store(tmp_path), open_store(tmp_path)
    assert mine.missing(keys(1)) == keys(1)
    yours.append(keys(1), rows(1))
    assert mine.missing(keys(1)) == keys(1)
    mine.refresh()
    assert mine.missing(keys(1)) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, DIM + 1), np.float32), "shape"),
        (np.zeros((1, DIM), np.float32), "shape"),
        (np.full((2, DIM), np.nan, np.float32), r"row 0 .* is not finite"),
        (np.stack([np.zeros(DIM), np.full(DIM, np.inf)]), r"row 1 .* is not finite"),
    ],
)
def test_a_bad_batch_writes_nothing(tmp_path, values, message):
    store = open_store(tmp_path)
    with pytest.raises(UserError, match=message):
        store.append(keys(1, 2), values)
    assert len(open_store(tmp_path)) == 0


def test_the_same_key_twice_in_a_batch_is_refused(tmp_path):
    with pytest.raises(UserError, match="twice"):
        open_store(tmp_path).append(keys(1, 1), rows(1, 1))


def test_rows_of_another_length_are_refused(tmp_path):
    open_store(tmp_path)
    with pytest.raises(UserError, match="holds rows of 8 float32, not of 9 float32"):
        open_store(tmp_path, dim=9)


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    path = Path(open_store(tmp_path).path) / "store.json"
    path.write_bytes(documents.sealed({**json.loads(path.read_text()), "schema": 99, documents.CHECKSUM: "0" * 8}))
    with pytest.raises(UserError, match="version 99"):
        open_store(tmp_path)


def test_a_flipped_bit_is_found_and_named(tmp_path):
    store = open_store(tmp_path)
    store.append(keys(1, 2), rows(1, 2))
    (chunk,) = (path for path in Path(store.path).glob("segments/*/values/c.*"))
    data = bytearray(chunk.read_bytes())
    data[5] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(
        UserError, match=r"values/c\.0\.0 \(rows 0 to 1\) .*checksum: run `hearonce cache repair"
    ):
        store.read(keys(1))


def test_plain_zarr_reads_a_segment(tmp_path):
    store = open_store(tmp_path)
    store.append(keys(1, 2), rows(1, 2), provenance={"device": "cpu"})
    (segment,) = Path(store.path).glob("segments/*.zarr")
    group = zarr.open_group(segment, mode="r")
    np.testing.assert_array_equal(group["values"][...], rows(1, 2))
    assert bytes(group["keys"][1]) == keys(2)[0]
    assert group.attrs["hearonce"]["provenance"] == {"device": "cpu"}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=10), max_size=6), st.data())
def test_any_order_of_batches_reads_as_the_union(tmp_path_factory, batches, data):
    store = open_store(tmp_path_factory.mktemp("store"))
    for batch in batches:
        store.append(keys(*batch), rows(*batch))
    present = sorted({number for batch in batches for number in batch})
    assert store.missing(keys(*range(31))) == keys(*(n for n in range(31) if n not in present))
    if present:
        wanted = data.draw(st.lists(st.sampled_from(present), max_size=20))
        np.testing.assert_array_equal(store.read(keys(*wanted)), rows(*wanted).reshape(-1, DIM))


def _write_forever(root, first):
    store = open_store(root)
    for number in range(first, first + 100_000, 4):
        store.append(keys(*range(number, number + 4)), rows(*range(number, number + 4)))


def test_a_killed_writer_loses_no_committed_row_and_leaves_no_half_one(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(6):
        writer = context.Process(target=_write_forever, args=(tmp_path, attempt * 1000))
        writer.start()
        time.sleep(0.05 + 0.03 * attempt)
        before = open_store(tmp_path)
        committed = [n for n in range(attempt * 1000, attempt * 1000 + 1000) if not before.missing(keys(n))]
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        after = open_store(tmp_path)
        np.testing.assert_array_equal(after.read(keys(*committed)), rows(*committed).reshape(-1, DIM))
        everything = [n for n in range(6000) if not after.missing(keys(n))]
        np.testing.assert_array_equal(after.read(keys(*everything)), rows(*everything).reshape(-1, DIM))
    assert len(open_store(tmp_path)) > 0
