import json
import random

import numpy as np
import polars as pl
import pytest
import torch
from cache_samples import FINGERPRINT, FORMATS, any_format, assert_rows, batch, digests, keys, open_store, values
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cache.artifact import open_artifact, write_artifact, write_blocks
from cache.errors import UserError
from cache.keys import pack_keys, unpack_keys
from cache.row_store import RowStore
from cache.rows import Rows
from cache.upkeep.exchange import FORMATS as EXCHANGES
from cache.upkeep.exchange import export, import_rows, merge, open_rows

ROW, RAGGED = FORMATS[0], FORMATS[5]


def exported(folder, row_format, format, *numbers):
    """An artifact of these rows as a file of the format, and the artifact."""
    store = open_store(folder / "rows", row_format)
    store.append(*batch(row_format, *dict.fromkeys(numbers)))
    ids = [f"clip é {number}" for number in numbers]
    write_artifact(folder / "a.zarr", ids, keys(*numbers), store, {"fingerprint": FINGERPRINT, "encoder": "tiny"})
    path = folder / f"b.{'h5' if format == 'hdf5' else format}"
    export(open_artifact(folder / "a.zarr"), path)
    return path, open_artifact(folder / "a.zarr")


@settings(max_examples=60, deadline=None)
@given(any_format, st.lists(st.integers(0, 40), max_size=10), st.sampled_from(EXCHANGES))
def test_exported_rows_are_imported_again_bit_for_bit(tmp_path_factory, row_format, numbers, format):
    folder = tmp_path_factory.mktemp("exchange")
    path, _ = exported(folder, row_format, format, *numbers)
    store = open_store(folder / "other", row_format)
    assert import_rows(path, store) == len(set(numbers))
    assert_rows(store, *numbers)
    assert import_rows(path, store) == 0
    export(store, folder / path.name.replace("b.", "c."))
    third = open_store(folder / "third", row_format)
    import_rows(folder / path.name.replace("b.", "c."), third)
    assert_rows(third, *numbers)


@pytest.mark.parametrize("format", EXCHANGES)
def test_an_export_is_the_same_bytes_every_time(tmp_path, format):
    first, artifact = exported(tmp_path, RAGGED, format, *range(20))
    export(artifact, first.with_stem("again"))
    assert digests(first) == digests(first.with_stem("again"))


def test_others_read_the_exports(tmp_path):
    numbers = [4, 2, 4]
    path, artifact = exported(tmp_path, RAGGED, "npz", *numbers)
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["values"], artifact.numpy())
        np.testing.assert_array_equal(archive["offsets"], artifact.offsets)
        assert archive["ids"].tolist() == artifact.ids
        assert json.loads(str(archive["hearonce"]))["encoder"] == "tiny"
    export(artifact, tmp_path / "b.parquet")
    table = pl.read_parquet(tmp_path / "b.parquet")
    assert table.columns == ["id", "key", "values", "side.flag", "side.level"]
    assert table["key"].to_list() == keys(*numbers)
    for i in range(3):
        np.testing.assert_array_equal(np.reshape(table["values"][i].to_list(), (-1, 2)), artifact.row(i))
    export(artifact, tmp_path / "b.safetensors")
    tensors = load_file(tmp_path / "b.safetensors")
    assert tensors["values"].dtype == torch.bfloat16
    assert torch.equal(tensors["values"], artifact.torch())
    assert json.loads(bytes(tensors["ids"].numpy())) == artifact.ids


def test_a_stores_export_has_its_keys_as_ids(tmp_path):
    store = open_store(tmp_path / "rows")
    store.append(*batch(ROW, 1, 2))
    export(store, tmp_path / "a.npz")
    export(store, tmp_path / "a.h5")
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["ids"].tolist() == [key.hex() for key in keys(1, 2)]
    assert open_artifact(tmp_path / "a.h5").ids == [key.hex() for key in keys(1, 2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "a.npz", "rows"]


@pytest.mark.parametrize("row_format", FORMATS, ids=str)
def test_merge_brings_what_is_lacking_with_its_provenance(tmp_path, row_format):
    source, target = open_store(tmp_path / "a", row_format), open_store(tmp_path / "b", row_format)
    source.append(*batch(row_format, 1, 2, 3), provenance={"device": "cuda"})
    source.append(*batch(row_format, 3, 4))
    target.append(*batch(row_format, 2))
    assert merge(source, target) == 3
    assert_rows(target, 4, 3, 2, 1)
    assert [group.description["provenance"] for group in target.groups.values()] == [{}, {"device": "cuda"}, {}]
    assert merge(source, target) == 0


@pytest.mark.parametrize("format", EXCHANGES)
def test_rows_of_another_encoder_or_format_are_refused(tmp_path, format):
    path, _ = exported(tmp_path, ROW, format, 1, 2)
    other = RowStore.ensure(tmp_path / "other", "clips", "cd" * 16, ROW)
    with pytest.raises(UserError, match=rf"{path.name} was not imported: .*not of {FINGERPRINT}"):
        import_rows(path, other)
    wider = RowStore.ensure(tmp_path / "other", "clips", FINGERPRINT, FORMATS[1])
    with pytest.raises(UserError, match=rf"{path.name} was not imported: .*not of 8 float32"):
        import_rows(path, wider)
    with pytest.raises(UserError, match="rows of different encoders are never mixed"):
        merge(open_store(tmp_path / "rows"), other)
    assert len(other) == len(wider) == 0


def test_files_that_are_damaged_or_not_ours_are_one_sentence(tmp_path):
    store = open_store(tmp_path / "other")
    np.savez(tmp_path / "plain.npz", values=np.zeros((2, 8)))
    pl.DataFrame({"values": [1.0]}).write_parquet(tmp_path / "plain.parquet")
    save_file({"values": torch.zeros(2, 8)}, tmp_path / "plain.safetensors")
    for format in ("npz", "parquet", "safetensors"):
        with pytest.raises(UserError, match=r"does not say which encoder made its rows"):
            import_rows(tmp_path / f"plain.{format}", store)
        path, _ = exported(tmp_path / format, ROW, format, *range(50))
        for data in (b"", b"hello", path.read_bytes()[:-40], path.read_bytes()[: path.stat().st_size // 2]):
            path.write_bytes(data)
            with pytest.raises(UserError, match=rf"{path.name} cannot be read as {format} of hearonce"):
                import_rows(path, store)
        path.unlink()
        with pytest.raises(UserError, match=rf"{path.name} is missing"):
            import_rows(path, store)
    with pytest.raises(UserError, match="is missing"):
        import_rows(tmp_path / "none.zarr", store)
    with pytest.raises(UserError, match="is a URL: only Zarr and HDF5"):
        import_rows("memory://a.npz", store)
    assert len(store) == 0


def test_an_export_that_cannot_be_is_refused(tmp_path):
    store = open_store(tmp_path / "rows")
    with pytest.raises(UserError, match=r"not as '\.csv'"):
        export(store, tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"for hdf5 let the name end in .h5"):
        export(store, tmp_path / "a.npz", "hdf5")
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_a_row_that_is_not_finite_is_not_imported(tmp_path):
    numbers = np.array(values(ROW, 1, 2))
    numbers[1, 3] = np.nan
    rows = Rows(ROW, pack_keys(keys(1, 2)), ROW.encode(numbers))
    write_blocks(tmp_path / "a.zarr", ROW, ["1", "2"], 2, [rows], {"fingerprint": FINGERPRINT})
    path = tmp_path / "b.safetensors"
    export(open_artifact(tmp_path / "a.zarr"), path)
    store = open_store(tmp_path / "other")
    with pytest.raises(UserError, match=rf"{path.name} was refused: row 1 \(key {keys(2)[0].hex()}\) is not finite"):
        import_rows(path, store)
    assert unpack_keys(store.keys()) == []


@pytest.mark.parametrize("row_format", [ROW, FORMATS[1], RAGGED], ids=str)
@pytest.mark.parametrize("format", ["npz", "parquet", "safetensors"])
def test_a_flipped_bit_is_found_or_changes_no_row(tmp_path, format, row_format):
    path, artifact = exported(tmp_path, row_format, format, *range(60))
    good = path.read_bytes()
    dice = random.Random(6)
    refused = 0
    for _ in range(100):
        data = bytearray(good)
        data[dice.randrange(len(good))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        try:
            found = open_rows(path)
        except UserError as error:
            refused += 1
            assert str(path) in str(error)
            continue
        assert dict(found.description) == dict(artifact.description)
        assert found.keys.tobytes() == artifact.keys.tobytes()
        for got, expected in zip(found.rows(np.arange(60)).numpy(), artifact[:], strict=True):
            np.testing.assert_array_equal(got, expected)
        for name, column in artifact.extra.items():
            np.testing.assert_array_equal(found.everything.extra[name], column)
    assert refused > 30
