import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from cache import digests
from cache.digests import DigestMemory, forget_absent, repair, verify


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


def test_a_file_rewritten_with_its_old_time_is_read_again(tmp_path):
    memory = DigestMemory(tmp_path / "digests.sqlite")
    (tmp_path / "a").write_bytes(b"one")
    first, before = memory.digest(tmp_path / "a"), os.stat(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"two")
    os.utime(tmp_path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(tmp_path / "a")
    assert (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)
    assert memory.digest(tmp_path / "a") != first


def test_one_picture_rewritten_with_its_old_time_changes_a_folder(tmp_path):
    memory = DigestMemory(None)
    (tmp_path / "1.jpg").write_bytes(b"one")
    first, before = memory.digest(tmp_path), os.stat(tmp_path / "1.jpg")
    (tmp_path / "1.jpg").write_bytes(b"two")
    os.utime(tmp_path / "1.jpg", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert memory.digest(tmp_path) != first


def test_a_link_to_another_file_is_read_again(tmp_path):
    memory = DigestMemory(None)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
        os.utime(tmp_path / name, ns=(1, 1))
    (tmp_path / "link").symlink_to("a")
    first = memory.digest(tmp_path / "link")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("b")
    assert memory.digest(tmp_path / "link") == memory.digest(tmp_path / "b") != first


def test_a_file_that_changes_while_it_is_read_has_no_digest(tmp_path, monkeypatch):
    memory, path = DigestMemory(None), tmp_path / "a"
    path.write_bytes(b"one")

    def written_meanwhile(absolute):
        path.write_bytes(b"one and more")
        return b"half of it"

    monkeypatch.setattr("cache.digests._file_digest", written_meanwhile)
    with pytest.raises(OSError, match="changed while it was being read"):
        memory.digest(path)


@pytest.mark.parametrize(
    ("ctime_ns", "waits_s"),
    [
        (10**18 + 1, 0.02),
        (10**18 - 5_000_001, 0.015),
        (10**18 - 10**9, 1.0),
        (10**18 - 3 * 10**9, 0),
        (10**18 + 10**10, 0),
    ],
    ids=["now", "a moment ago", "a second ago by a clock of seconds", "long ago", "by a clock that was set back"],
)
def test_a_file_written_a_moment_ago_is_read_when_another_write_would_show(monkeypatch, ctime_ns, waits_s):
    monkeypatch.setattr("cache.digests.time.time_ns", lambda: 10**18 + 1)
    waited = [0.0]
    monkeypatch.setattr("cache.digests.time.sleep", waited.append)
    digests._settle(digests.Stamp(1, 1, ctime_ns, 1))
    assert waited[-1] == pytest.approx(waits_s, abs=1e-6)


def test_digests_of_earlier_versions_are_computed_again_and_what_was_fetched_is_kept(tmp_path):
    path, media = tmp_path / "digests.sqlite", tmp_path / "a"
    media.write_bytes(b"one")
    status = os.stat(media)
    with closing(sqlite3.connect(path)) as earlier:
        earlier.execute("CREATE TABLE digests (path TEXT PRIMARY KEY, size, mtime_ns, inode, digest TEXT)")
        earlier.execute("CREATE TABLE remote (identity TEXT PRIMARY KEY, size INTEGER, version TEXT, digest TEXT)")
        earlier.execute("CREATE TABLE facts (digest TEXT, kind TEXT, text TEXT, PRIMARY KEY (digest, kind))")
        wrong = (str(media), status.st_size, status.st_mtime_ns, status.st_ino, "0" * 32)
        earlier.execute("INSERT INTO digests VALUES (?, ?, ?, ?, ?)", wrong)
        earlier.execute("INSERT INTO remote VALUES ('url', 7, 'etag', ?)", ("1" * 32,))
        earlier.execute("INSERT INTO remote VALUES ('other', NULL, 'etag', 'no digest')")
        earlier.execute("INSERT INTO facts VALUES (?, 'probe 1', '{}')", ("1" * 32,))
        earlier.commit()
    memory = DigestMemory(path)
    assert memory.digest(media) == DigestMemory(None).digest(media)
    assert memory.recall("url", 7, "etag") == "1" * 32
    assert memory.recall("other", None, "etag") is None
    assert memory.recall_facts("1" * 32, "probe 1") == "{}"
    memory.close()
    assert verify(path) == []


def test_names_that_are_not_utf8_are_remembered(tmp_path, monkeypatch):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    path.write_bytes(b"one")
    first = DigestMemory(tmp_path / "digests.sqlite").digest(path)
    monkeypatch.setattr("cache.digests.hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert DigestMemory(tmp_path / "digests.sqlite").digest(path) == first


def test_a_broken_table_is_renamed_and_begun_anew(tmp_path):
    path = tmp_path / "digests.sqlite"
    (tmp_path / "a").write_bytes(b"one")
    path.write_bytes(b"no table" * 1000)
    assert "is a damaged database" in str(verify(path)[0])
    memory = DigestMemory(path)
    memory.digest(tmp_path / "a")
    memory.close()
    assert path.with_name("digests.sqlite.damaged").read_bytes() == b"no table" * 1000
    assert verify(path) == [] and len(rows(path)) == 1


def test_repair_forgets_a_damaged_row_alone(tmp_path):
    path, media = tmp_path / "digests.sqlite", tmp_path / "a"
    media.write_bytes(b"one")
    memory = DigestMemory(path)
    expected = memory.digest(media)
    memory.remember("url", 7, "etag", "1" * 32)
    memory.close()
    with closing(sqlite3.connect(path)) as damaged:
        damaged.execute("UPDATE remembered SET value = ? WHERE kind = 'file'", ("0" * 32,))
        damaged.commit()
    assert DigestMemory(path).digest(media) == expected  # recomputed, and right again
    with closing(sqlite3.connect(path)) as damaged:
        damaged.execute("UPDATE remembered SET value = ? WHERE kind = 'file'", ("0" * 32,))
        damaged.commit()
    (damage,) = verify(path)
    assert str(media) in damage.reason
    repair(path)
    assert verify(path) == [] and [row[1] for row in rows(path)] == ["url"]


def test_files_that_are_gone_are_forgotten_unless_their_folder_is_too(tmp_path):
    path = tmp_path / "digests.sqlite"
    (tmp_path / "disk").mkdir()
    for name in ("stays", "goes", "disk/away"):
        (tmp_path / name).write_bytes(b"one")
    memory = DigestMemory(path)
    for name in ("stays", "goes", "disk/away"):
        memory.digest(tmp_path / name)
    memory.close()
    (tmp_path / "goes").unlink()
    (tmp_path / "disk").rename(tmp_path / "not mounted")
    assert forget_absent(path, dry_run=True) == 1 and len(rows(path)) == 3
    assert forget_absent(path) == 1
    assert {Path(row[1]).name for row in rows(path)} == {"stays", "away"}


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT kind, name FROM remembered").fetchall()


def test_a_hard_link_that_comes_meanwhile_is_no_change(tmp_path, monkeypatch):
    """It changes the ctime, as links into DVC's cache and into environments do."""
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    links = iter(range(2))
    plain = digests._file_digest

    def linking(of):
        value = plain(of)
        if (number := next(links, None)) is not None:
            os.link(path, tmp_path / f"link{number}")
        return value

    monkeypatch.setattr(digests, "_file_digest", linking)
    assert DigestMemory(None).digest(path) == plain(str(path)).hex()
    assert (tmp_path / "link1").exists()
