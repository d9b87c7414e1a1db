"""A power cut keeps only what was synced: every byte is synced before its name appears, and the name after that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faults.material import FINGERPRINT, POOLED, RAGGED, fill, key

from cache.artifact import write_artifact
from cache.upkeep.compaction import compact


class Watch:
    """Follows what a process syncs and renames."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._synced: dict[int, tuple[int, int]] = {}  # inode -> size and time of change when it was synced
        self._waiting: dict[int, str] = {}  # inode of a folder whose new name is not synced yet
        self.appeared: list[str] = []
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        status = os.fstat(descriptor)
        self._synced[status.st_ino] = (status.st_size, status.st_mtime_ns)
        self._waiting.pop(status.st_ino, None)

    def _watched(self, rename):
        def watched(source, target) -> None:
            if not Path(target).name.endswith(".part"):
                for one in (Path(source), *Path(source).rglob("*")):
                    status = one.stat()
                    assert self._synced.get(status.st_ino) == (status.st_size, status.st_mtime_ns), f"{one} not synced"
                self._waiting[os.stat(Path(target).parent).st_ino] = str(target)
                self.appeared.append(Path(target).name)
            rename(source, target)

        return watched

    def check(self, appeared: int) -> None:
        assert len(self.appeared) == appeared
        assert self._waiting == {}, "a name was not synced"
        self.appeared.clear()


@pytest.mark.parametrize("row_format", [POOLED, RAGGED], ids=["pooled", "ragged"])
def test_bytes_are_synced_before_their_name_and_then_the_name(tmp_path, monkeypatch, row_format):
    watch = Watch(monkeypatch)
    store = fill(tmp_path, row_format, range(20), range(20, 40))
    watch.check(appeared=3)  # store.json and two segments
    compact(store)
    watch.check(appeared=1)
    arguments = ([str(i) for i in range(40)], [key(i) for i in range(40)], store)
    for suffix in (".zarr", ".h5"):
        for _ in range(2):  # the second time it replaces the first
            write_artifact(tmp_path / f"a{suffix}", *arguments, {"modality": "captions", "fingerprint": FINGERPRINT})
            watch.check(appeared=1)
