import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from cache.digests import DigestMemory


def test_digest_follows_the_bytes_not_the_name(tmp_path):
    memory = DigestMemory(tmp_path / "digests.sqlite")
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    first = memory.digest(tmp_path / "a")
    assert len(first) == 32
    assert first != memory.digest(tmp_path / "b")
    (tmp_path / "a").rename(tmp_path / "c")
    assert memory.digest(tmp_path / "c") == first


def test_an_unchanged_file_is_not_read_again(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"one")
    first = DigestMemory(tmp_path / "digests.sqlite").digest(tmp_path / "a")
    monkeypatch.setattr("cache.digests.hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert DigestMemory(tmp_path / "digests.sqlite").digest(tmp_path / "a") == first


def test_the_digest_of_a_folder_follows_names_and_bytes(tmp_path):
    memory = DigestMemory(tmp_path / "digests.sqlite")
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        (folder / f"frame_{number}.jpg").write_bytes(b"%d" % number)
    first = memory.digest(folder)
    assert len(first) == 32
    folder.rename(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere"
    (folder / ".hidden").write_bytes(b"left by a file manager")
    (folder / "deeper").mkdir()
    assert memory.digest(folder) == first
    (folder / "frame_1.jpg").write_bytes(b"other")
    changed = memory.digest(folder)
    (folder / "frame_1.jpg").write_bytes(b"1")
    (folder / "frame_2.jpg").rename(folder / "frame_3.jpg")
    renamed = memory.digest(folder)
    (folder / "frame_3.jpg").unlink()
    assert len({first, changed, renamed, memory.digest(folder)}) == 4


def test_an_unchanged_folder_is_not_read_again(tmp_path, monkeypatch):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/a.jpg").write_bytes(b"one")
    first = DigestMemory(tmp_path / "digests.sqlite").digest(tmp_path / "frames")
    monkeypatch.setattr("cache.digests.hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert DigestMemory(tmp_path / "digests.sqlite").digest(tmp_path / "frames") == first


def test_many_threads_share_a_memory(tmp_path):
    memory = DigestMemory(tmp_path / "digests.sqlite")
    for number in range(200):
        (tmp_path / str(number)).write_bytes(b"%d" % (number % 7))
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(memory.digest, [tmp_path / str(number) for number in range(200)]))
    assert len(set(digests)) == 7


def test_a_changed_file_is_read_again(tmp_path):
    memory = DigestMemory(tmp_path / "digests.sqlite")
    (tmp_path / "a").write_bytes(b"one")
    first = memory.digest(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"two")
    os.utime(tmp_path / "a", ns=(1, 1))
    assert memory.digest(tmp_path / "a") != first


def test_a_file_that_is_no_table_costs_only_time(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    expected = DigestMemory(tmp_path / "digests.sqlite").digest(tmp_path / "a")
    (tmp_path / "garbage.sqlite").write_bytes(b"no table" * 1000)
    (tmp_path / "folder.sqlite").mkdir()
    for path in ("garbage.sqlite", "folder.sqlite", "a/digests.sqlite"):
        assert DigestMemory(tmp_path / path).digest(tmp_path / "a") == expected


def test_a_table_that_breaks_or_turns_read_only_costs_only_time(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    path = tmp_path / "digests.sqlite"
    memory = DigestMemory(path)
    expected = memory.digest(tmp_path / "a")
    path.write_bytes(b"no table" * 1000)
    assert memory.digest(tmp_path / "a") == expected
    path.unlink()
    memory = DigestMemory(path)
    memory._connection.execute("PRAGMA query_only = ON")  # refuses as a read-only disk does
    assert memory.digest(tmp_path / "a") == expected
