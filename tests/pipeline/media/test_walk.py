import os
import socket
from pathlib import Path

import pytest

from pipeline.media.walk import NOT_UTF8, walk

LATIN = os.fsdecode(b"caf\xe9.wav")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names(folder: Path) -> list[str]:
    return [path.as_posix() for path in walk(folder).files]


def test_media_by_suffix_sorted_and_the_rest_counted_by_kind(tmp_path):
    touch(tmp_path, "b.WAV", "a/c.m2ts", "a/b.caf", "x.foo", "y.foo", "z.bar", "README", ".hidden.wav", ".git/a.wav")
    found = walk(tmp_path)
    assert [path.as_posix() for path in found.files] == ["a/b.caf", "a/c.m2ts", "b.WAV"]
    assert found.notes() == ["4 files left out: 2 .foo, 1 .bar, 1 without an ending"]
    assert found.notes(known=[".foo"]) == ["2 files left out: 1 .bar, 1 without an ending"]
    assert not found.faults and not found.unfit


def test_many_kinds_are_named_up_to_a_number(tmp_path):
    touch(tmp_path, *(f"a.k{number}" for number in range(9)), "b.k8")
    assert walk(tmp_path).notes() == ["10 files left out: 2 .k8, 1 .k0, 1 .k1, 1 .k2, 1 .k3, 1 .k4, 3 of other kinds"]


def test_a_folder_that_links_to_itself_is_walked_once(tmp_path):
    touch(tmp_path, "sub/x.wav")
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "sub" / "same").symlink_to(".")
    assert names(tmp_path) == ["sub/x.wav"]
    assert walk(tmp_path).notes() == ["2 links to media or folders that are there already left out"]


def test_two_folders_that_link_to_each_other(tmp_path):
    touch(tmp_path, "a/1.wav", "b/2.wav")
    (tmp_path / "a" / "b").symlink_to("../b")
    (tmp_path / "b" / "a").symlink_to("../a")
    assert names(tmp_path) == ["a/1.wav", "b/2.wav"]


def test_a_folder_keeps_its_own_name_however_its_links_are_called(tmp_path):
    touch(tmp_path, "z/1.wav", "elsewhere/2.wav")
    media = tmp_path / "media"
    touch(media, "z/1.wav")
    for name in ("a-link", "b-link"):
        (media / name).symlink_to("z")
    (media / "c-link").symlink_to(tmp_path / "elsewhere")
    (media / "d-link").symlink_to(tmp_path / "elsewhere")
    assert names(media) == ["c-link/2.wav", "z/1.wav"]


def test_links_to_media_of_the_folder_are_the_same_media_and_links_elsewhere_are_media(tmp_path):
    media = tmp_path / "media"
    touch(tmp_path, "store/1")
    touch(media, "real/x.wav")
    (media / "again.wav").symlink_to("real/x.wav")
    for name in ("p.wav", "q.wav"):  # as a version control fills a folder: two names of the same bytes
        (media / name).symlink_to(tmp_path / "store" / "1")
    assert names(media) == ["p.wav", "q.wav", "real/x.wav"]
    assert walk(media).again == 1


def test_what_leads_nowhere_and_what_is_no_file(tmp_path):
    touch(tmp_path, "ok.wav")
    (tmp_path / "self.wav").symlink_to("self.wav")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "lost.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket.wav"))
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    found = walk(tmp_path)
    assert [path.as_posix() for path in found.files] == ["lost.mp4", "ok.wav"], "opening it says that it is not there"
    assert found.faults == [(Path(name), "a link to itself") for name in ("one", "self.wav", "two")]
    assert found.notes() == ["3 files left out: 3 pipes, sockets or devices"]
    assert {path.name for path in found.unfit} == {
        "one", "two", "self.wav", "lost.mp4", "pipe.wav", "socket.wav", "device.wav",
    }  # fmt: skip


def test_names_that_are_not_utf8_are_faults_and_others_go_on(tmp_path):
    touch(tmp_path, "ok.wav", LATIN, os.fsdecode(b"caf\xe9.txt"), os.fsdecode(b"d\xfcr/x.wav"))
    found = walk(tmp_path)
    assert [path.as_posix() for path in found.files] == ["ok.wav"]
    assert sorted(os.fsencode(path) for path, _ in found.faults) == [b"caf\xe9.wav", b"d\xfcr"]
    assert {reason for _, reason in found.faults} == {NOT_UTF8}
    assert found.notes() == ["1 file left out: 1 .txt"]
    assert len(found.unfit) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_a_fault(tmp_path):
    touch(tmp_path, "ok.wav", "closed/x.wav")
    (tmp_path / "closed").chmod(0)
    found = walk(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert found.faults == [(Path("closed"), "no permission to read")]


def test_a_very_deep_tree_is_no_trouble(tmp_path):
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
    folder.mkdir(parents=True)
    touch(folder, "x.wav")
    assert len(names(tmp_path)) == 1
