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
