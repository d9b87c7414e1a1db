from pathlib import Path

import pytest

from cache.errors import UserError
from cache.location import STORE_VARIABLE, Store


def test_the_working_tree_is_the_default(monkeypatch):
    monkeypatch.delenv(STORE_VARIABLE, raising=False)
    assert Store.default().rows == Path(".hearonce/rows")
    monkeypatch.setenv(STORE_VARIABLE, "")
    assert Store.default().audio == Path(".hearonce/audio")


def test_a_shared_store_keeps_what_is_of_this_machine_alone_here(monkeypatch, tmp_path):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path))
    assert Store.default().rows == tmp_path / "rows"
    assert Store.default().digests == Path(".hearonce/digests.sqlite")


def test_a_store_on_a_disk_that_is_not_there_does_not_begin_anew(monkeypatch, tmp_path):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "unmounted"))
    with pytest.raises(UserError, match="which is no folder: mount the disk"):
        Store.default()
    monkeypatch.setenv(STORE_VARIABLE, "s3://team/store")
    with pytest.raises(UserError, match="is a URL"):
        Store.default()
