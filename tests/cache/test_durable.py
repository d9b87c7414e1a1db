import pytest

from cache.durable import new_directory, new_file
from cache.errors import UserError


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), new_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with new_file(tmp_path / "deep" / "a") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "deep" / "a").read_text() == "whole"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]


def test_a_linked_file_is_replaced_not_written_into(tmp_path):
    (tmp_path / "cached").write_text("old")
    (tmp_path / "out").symlink_to(tmp_path / "cached")
    with new_file(tmp_path / "out") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "cached").read_text() == "old"
    assert (tmp_path / "out").read_text() == "new"


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), new_directory(tmp_path / "a") as temporary:
        (temporary / "x").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for text in ("one", "two"):
        with new_directory(tmp_path / "a", scratch=tmp_path / "scratch") as temporary:
            (temporary / "x").write_text(text)
        assert (tmp_path / "a" / "x").read_text() == text
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_file_takes_the_place_of_an_empty_folder_only(tmp_path):
    (tmp_path / "a" / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match="a folder with something in it stands there"), new_file(tmp_path / "a") as file:
        file.write_text("new")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    (tmp_path / "a" / "mine").rmdir()
    with new_file(tmp_path / "a") as file:
        file.write_text("new")
    assert (tmp_path / "a").read_text() == "new"
