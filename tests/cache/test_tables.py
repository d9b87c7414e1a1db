import polars as pl
import pytest

from cache.errors import UserError
from cache.tables import CAPTIONS, PAIRS, read_table, table, write_table

ROWS = [{"caption_id": "1", "text": "naïve “dog”", "source": "given"}]


def test_round_trip_and_determinism(tmp_path):
    write_table(table(ROWS, CAPTIONS), CAPTIONS, tmp_path / "a.parquet")
    write_table(table(ROWS, CAPTIONS), CAPTIONS, tmp_path / "b.parquet")
    assert read_table(tmp_path / "a.parquet", CAPTIONS).to_dicts() == ROWS
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_an_empty_table_keeps_its_columns(tmp_path):
    write_table(table([], CAPTIONS), CAPTIONS, tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", CAPTIONS).columns == list(CAPTIONS)


def test_wrong_columns_are_refused_on_write(tmp_path):
    with pytest.raises(ValueError, match="do not fit"):
        write_table(pl.DataFrame({"caption_id": [1]}), CAPTIONS, tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        read_table(tmp_path / "none.parquet", CAPTIONS)
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_table(tmp_path / "text.parquet", CAPTIONS)
    write_table(table(ROWS, CAPTIONS), CAPTIONS, tmp_path / "captions.parquet")
    with pytest.raises(UserError, match="expected"):
        read_table(tmp_path / "captions.parquet", PAIRS)
    table(ROWS, CAPTIONS).write_parquet(tmp_path / "new.parquet", metadata={"hearonce.schema": "99"})
    with pytest.raises(UserError, match="version 99"):
        read_table(tmp_path / "new.parquet", CAPTIONS)
