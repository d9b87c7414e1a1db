"""Refusals before a disk is full: by real numbers of real disks, and on a small disk that fills while a run writes."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache.errors import UserError
from cache.keys import caption_key
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.monitor.disk_space import RESERVE_VARIABLE, Need, check_disk_space, disk_spaces, dvc_cache
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.local import LocalRunner
from pipeline.runner.rows import Row, WantedRows
from pipeline.runner.run import compute_missing


def test_needs_on_one_disk_add_up(tmp_path, monkeypatch):
    monkeypatch.setenv(RESERVE_VARIABLE, "0")
    free = shutil.disk_usage(tmp_path).free
    half = free * 6 // 10
    needs = [Need("rows", tmp_path / "not/there/yet", half), Need("embeddings", tmp_path, half)]
    (room,) = disk_spaces(needs)
    assert not room.enough and not (tmp_path / "not").exists()
    check_disk_space(needs[:1], force=False)
    with pytest.raises(UserError, match=r"too small for this run \(about .* of rows in .*, .* of embeddings in"):
        check_disk_space(needs, force=False)
    check_disk_space(needs, force=True)


def test_the_reserve_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv(RESERVE_VARIABLE, "1e9")
    with pytest.raises(UserError, match=r"1000\.0 TB are kept free"):
        check_disk_space([Need("rows", tmp_path, 1)], force=False)
    monkeypatch.setenv(RESERVE_VARIABLE, "much")
    with pytest.raises(UserError, match="must be a number of megabytes"):
        check_disk_space([Need("rows", tmp_path, 1)], force=False)


def test_dvcs_copy_lies_where_its_configuration_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert dvc_cache() is None
    monkeypatch.setenv("DVC_STAGE", "embed")
    assert dvc_cache() == Path(".dvc/cache")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    autostage = true\n[cache]\n    dir = /shared/cache\n")
    assert dvc_cache() == Path("/shared/cache")


@pytest.fixture
def small_disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    if os.system(f"mount -t tmpfs -o size=8m tmpfs {path} 2>/dev/null"):
        pytest.skip("this user may not mount a small disk")
    yield path
    os.system(f"umount -l {path}")


def test_a_run_stops_before_the_disk_is_full_and_keeps_what_it_has(small_disk, monkeypatch):
    monkeypatch.setattr("pipeline.monitor.disk_space.CHECK_EVERY_S", 0.0)
    monkeypatch.setenv(RESERVE_VARIABLE, "4")
    n, ballast = 96, small_disk / "ballast"
    rows = WantedRows.of([Row(str(i), caption_key(str(i)), str(i), "") for i in range(n)])
    store = RowStore.ensure(small_disk / "rows", "captions", "ab" * 16, RowFormat(512))

    class Tower:
        encoded = 0

        def prepare(self, item, key):
            return item

        def encode(self, items):
            self.encoded += len(items)
            if self.encoded == 32:  # another process fills the disk
                ballast.write_bytes(b"x" * 5_000_000)
            return np.array([np.full(512, item) for item in items], np.float32)

    def run():
        maker = LocalRunner(lambda group: ((row, int(row.id)) for row in group), lambda: (Tower(), {}), batch_size=8)
        summary = Summary("embed")
        compute_missing(rows, store, maker, problems=Problems("embed"), summary=summary)
        return summary

    with pytest.raises(UserError, match=r"has .* left, and 4\.0 MB are to stay free: what was computed is kept"):
        run()
    store.refresh()
    assert len(store) == 32
    assert shutil.disk_usage(small_disk).free > 2_000_000
    ballast.unlink()
    monkeypatch.setenv(RESERVE_VARIABLE, "0")
    summary = run()
    assert (summary.found, summary.computed) == (32, n - 32)
    np.testing.assert_array_equal(store.read(rows.keys)[:, 0], np.arange(n))
