import pytest

from cache.tables import PROBLEMS, read_table
from pipeline.monitor.problems import Problems, StrictStop


def test_the_same_problems_in_any_order_give_the_same_bytes(tmp_path):
    entries = [
        ("b", "b.mp4", "no audio track"),
        ("a", "a.mp4", "empty file (0 bytes)"),
        ("a", "a.mp4", "no video track"),
    ]
    for name, order in (("1", entries), ("2", entries[::-1])):
        problems = Problems("extract_audio")
        for entry in order:
            problems.add(*entry)
        problems.write(tmp_path / f"{name}.parquet")
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    frame = read_table(tmp_path / "1.parquet", PROBLEMS)
    assert frame["id"].to_list() == ["a", "a", "b"]
    assert frame["stage"].unique().to_list() == ["extract_audio"]


def test_strict_stops_at_the_first():
    with pytest.raises(StrictStop, match=r"a\.mp4: no audio track \(strict run\)"):
        Problems("extract_audio", strict=True).add("a", "a.mp4", "no audio track")
