"""Lists of clips kept as subsets: whatever an id looks like, the YAML gives it back."""

import pytest

from cache.errors import UserError
from pipeline.config.records import load
from pipeline.config.subsets import FOLDER, SubsetConfig
from stages.search.saved import save


def test_ids_come_back_as_they_were_once_each_and_in_order(project):
    odd = ["no", "null", "1e3", "2024-01-01", "0x1f", "a: b # c", "ä/犬 x.mp4@1.0-2.0", "x" * 1500 + " y", "it's"]
    path = save("mine", "odd", [*odd, odd[0]], "first\nclips: [no]\u2028clips: all")
    assert path == FOLDER / "mine" / "odd.yaml" and load(path, SubsetConfig).clips == odd
    assert [line[0] for line in path.read_text(encoding="utf-8").split("\n")[:2]] == ["#", "#"]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "/x", "a\n", "all", "-x", ".x", "é", "x" * 101])
def test_names_that_are_no_file_name_are_refused(project, name):
    with pytest.raises(UserError, match="take letters"):
        save("mine", name, ["a"])
    assert not FOLDER.joinpath("mine").exists()


def test_nothing_is_overwritten_and_nothing_empty_is_written(project):
    path = save("mine", "kept", ["a"])
    before = path.read_bytes()
    with pytest.raises(UserError, match="There is a subset 'kept' already"):
        save("mine", "kept", ["b"])
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="would be empty"):
        save("mine", "none", [])
    assert [one.name for one in path.parent.iterdir()] == ["kept.yaml"]
