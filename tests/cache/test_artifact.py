import hashlib
from pathlib import Path

import numpy as np
import pytest
import zarr

from cache.artifact import Artifact, open_artifact
from cache.artifact_writer import write_artifact
from cache.errors import UserError
from cache.keys import caption_key
from cache.row_format import RowFormat
from cache.row_store import RowStore

DESCRIPTION = {"modality": "clips", "encoder": "tiny", "fingerprint": "ab" * 16}


@pytest.fixture
def rows(tmp_path) -> RowStore:
    store = RowStore.ensure(tmp_path / "rows", "clips", "ab" * 16, RowFormat(384))
    keys = [caption_key(str(i)) for i in range(1500)]
    store.append(keys, np.random.default_rng(0).standard_normal((1500, 384)).astype(np.float32))
    return store


def write(path: Path, numbers, rows: RowStore) -> Artifact:
    keys = [caption_key(str(number)) for number in numbers]
    write_artifact(path, [f"clip é {number}" for number in numbers], keys, rows, DESCRIPTION)
    return open_artifact(path)


def digests(path: Path) -> dict[str, str]:
    files = sorted(one for one in path.rglob("*") if one.is_file())
    return {str(one.relative_to(path)): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


def test_rows_ids_and_keys_stand_in_table_order(tmp_path, rows):
    numbers = [7, 3, 1100, 3]
    artifact = write(tmp_path / "a.zarr", numbers, rows)
    keys = [caption_key(str(number)) for number in numbers]
    np.testing.assert_array_equal(artifact.numpy(), rows.read(keys))
    assert artifact.ids == [f"clip é {number}" for number in numbers]
    assert [key.tobytes() for key in artifact.keys] == keys
    assert artifact.description["encoder"] == "tiny"
    assert len(artifact) == 4


def test_the_same_rows_give_the_same_bytes_whatever_the_history(tmp_path, rows):
    write(tmp_path / "a.zarr", range(1500), rows)
    other = RowStore.ensure(tmp_path / "other", "clips", "ab" * 16, RowFormat(384))
    for number in reversed(range(0, 1500, 100)):
        keys = [caption_key(str(i)) for i in range(number, number + 100)]
        other.append(keys, rows.read(keys))
    write(tmp_path / "b.zarr", range(1500), other)
    assert digests(tmp_path / "a.zarr") == digests(tmp_path / "b.zarr")


def test_an_old_artifact_is_replaced_not_written_into(tmp_path, rows):
    write(tmp_path / "a.zarr", range(10), rows)
    (kept,) = (tmp_path / "a.zarr").glob("values/c.0.0")
    link = tmp_path / "linked"
    link.hardlink_to(kept)
    before = link.read_bytes()
    write(tmp_path / "a.zarr", range(20), rows)
    assert link.read_bytes() == before
    assert len(open_artifact(tmp_path / "a.zarr")) == 20


def test_no_rows_make_an_artifact_too(tmp_path, rows):
    artifact = write(tmp_path / "a.zarr", [], rows)
    assert artifact.numpy().shape == (0, 384)
    assert artifact.ids == []


def test_plain_zarr_opens_it(tmp_path, rows):
    write(tmp_path / "a.zarr", range(600), rows)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["values"].shape == (600, 384)
    assert group["ids"][599] == "clip é 599"


def test_a_flipped_bit_is_found(tmp_path, rows):
    artifact = write(tmp_path / "a.zarr", range(600), rows)
    (shard,) = (tmp_path / "a.zarr").glob("values/c.0.0")
    data = bytearray(shard.read_bytes())
    data[1000] ^= 4
    shard.write_bytes(data)
    with pytest.raises(UserError, match="is damaged"):
        artifact.numpy()


def test_what_is_missing_or_something_else_is_said(tmp_path):
    with pytest.raises(UserError, match="is missing: run `dvc repro`"):
        open_artifact(tmp_path / "none.zarr")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(UserError, match="no embedding cache"):
        open_artifact(tmp_path / "other.zarr")
    zarr.create_group(tmp_path / "newer.zarr", attributes={"hearonce": {"schema": 99}})
    with pytest.raises(UserError, match="version 99"):
        open_artifact(tmp_path / "newer.zarr")


def test_rows_that_the_store_lacks_leave_no_artifact(tmp_path, rows):
    with pytest.raises(KeyError):
        write(tmp_path / "a.zarr", [1, 99999], rows)
    assert list(tmp_path.glob("*a.zarr*")) == []
