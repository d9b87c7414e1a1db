from pathlib import Path

import pytest

from cache.errors import UserError
from cache.location import Store
from pipeline.checkpoints.fingerprints import fingerprint_of


def test_bytes_count_and_paths_do_not(tmp_path):
    store = Store(tmp_path / "store")
    (tmp_path / "a.pt").write_bytes(b"weights")
    (tmp_path / "b.pt").write_bytes(b"weights")
    (tmp_path / "c.pt").write_bytes(b"other")
    prints = [fingerprint_of({"version": 1, "files": {"weights": tmp_path / f"{name}.pt"}}, store)[0] for name in "abc"]
    assert prints[0] == prints[1] != prints[2]


def test_paths_are_resolved_in_lists_too(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"weights")
    _, identity = fingerprint_of({"files": [tmp_path / "a.pt", 1]}, Store(tmp_path / "store"))
    assert identity["files"][0].startswith("blake2b-128:")
    assert identity["files"][1] == 1


def test_a_missing_file_is_named_with_the_command_that_fetches_it(project):
    with pytest.raises(UserError, match=r"not found: none\.pt: correct the path"):
        fingerprint_of({"weights": Path("none.pt")})
    with pytest.raises(UserError, match=r"not found: checkpoints/egovlp\.pth: run `hearonce checkpoints fetch egovlp`"):
        fingerprint_of({"weights": Path("checkpoints/egovlp.pth")})
    with pytest.raises(UserError, match=r"needs x+\.pt, which cannot be read: File name too long"):
        fingerprint_of({"weights": Path("x" * 300 + ".pt")})
