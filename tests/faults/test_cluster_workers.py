"""Workers of a cluster that die, hang or meet media that kill them: each costs its own tasks, and no row is lost."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cluster_material import (
    Loader,
    Reader,
    ended,
    expected,
    folder_with_clusters,
    made,
    read_media,
    rows_of,
    store_in,
    when,
)
from waiting import wait_until

from cache.artifact import write_artifact
from cache.errors import UserError
from pipeline.monitor.summary import Summary
from pipeline.runner.dask.cluster import Cluster
from pipeline.runner.dask.runner import BATCHES_PER_TASK, DaskRunner
from pipeline.runner.local import LocalRunner
from pipeline.runner.rows import WantedRows

WORKERS, BATCH, CLIPS = 3, 4, 4
MEDIA_PER_TASK = BATCHES_PER_TASK * BATCH // CLIPS
OPTIONS = {"kind": "local", "workers": WORKERS, "memory_per_worker": "700MiB"}
HASTY = {**OPTIONS, "worker_lost_s": 6}  # on a busy machine a worker may be silent for long


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with folder_with_clusters(tmp_path_factory.mktemp("project"), three=OPTIONS, hasty=HASTY):
        with Cluster("three") as one:
            yield one


@pytest.fixture
def run(cluster, tmp_path):
    def call(rows, cluster=cluster, **reader):
        maker = DaskRunner(cluster, Reader(tmp_path / "log", **reader), Loader(tmp_path / "log"), batch_size=BATCH)
        return made(maker, rows, store_in(tmp_path / "rows"))

    return call


def pids(log: Path) -> list[int]:
    """Of the processes that have read media, the busiest first."""
    found = [int(line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []
    return sorted(set(found), key=found.count, reverse=True)


def test_a_cluster_makes_the_rows_and_the_artifact_that_one_process_makes(cluster, run, tmp_path, capfd):
    rows = rows_of(30)
    bad = {"m5": "bad"}
    there, problems = run(rows, trouble=bad)
    here = LocalRunner(Reader(tmp_path / "own", trouble=bad).read, Loader(tmp_path / "own"), batch_size=BATCH)
    alone, same_problems = made(here, rows, store_in(tmp_path / "alone"))
    assert problems == same_problems == {"m5": "no frame in this clip"}
    np.testing.assert_array_equal(there, alone)
    kept = [row for row in rows if row.path != "m5.mp4"]
    bytes_of = []
    for name in ("rows", "alone"):
        out = tmp_path / f"{name}.zarr"
        write_artifact(out, [row.id for row in kept], [row.key for row in kept], store_in(tmp_path / name), {})
        bytes_of.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert bytes_of[0] == bytes_of[1]
    counts = read_media(tmp_path / "log")
    assert counts.pop("load") <= WORKERS and set(counts.values()) == {1} and len(counts) == 30
    (said,) = [line for line in capfd.readouterr().err.splitlines() if "/s, " not in line]  # the others tell progress
    assert said.startswith("cluster three: 3 workers, dashboard http://127.0.0.1:")


def strike_and_compare(call, log, blow):
    """Deals a blow to one of the workers in the middle of a run, which ends in the rows of one without."""
    rows = rows_of(60)
    hit: list[int] = []

    def strike() -> None:
        hit.append(pids(log)[0])
        os.kill(hit[0], blow)

    striking = when(lambda: sum(read_media(log).values()) >= 12, strike)
    values, problems = call(rows, seconds=0.05)
    striking.join()
    assert hit and ended(hit[0]) and not problems
    np.testing.assert_array_equal(values, expected(rows))
    counts = read_media(log)
    counts.pop("load")
    assert len(counts) == 60
    assert sum(counts.values()) - 60 <= 2 * MEDIA_PER_TASK  # what it was at, and what it had made and not yet handed on


def test_a_worker_that_is_killed_costs_its_own_tasks(run, tmp_path):
    strike_and_compare(run, tmp_path / "log", signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_hangs_costs_its_own_tasks(run, tmp_path):
    with Cluster("hasty") as hasty:
        strike_and_compare(partial(run, cluster=hasty), tmp_path / "log", signal.SIGSTOP)


@pytest.mark.parametrize("way", ["exit", pytest.param("hog", marks=pytest.mark.slow)])
def test_media_that_kill_every_worker_are_listed_and_their_neighbours_are_fine(run, tmp_path, way):
    rows = rows_of(12)
    values, problems = run(rows, trouble={"m2": way, "m9": "fail"})
    assert set(problems) == {"m2", "m9"}
    assert "every worker that took this on died" in problems["m2"]
    assert problems["m9"].endswith("failed: RuntimeError: a fault of the model")
    good = [row for row in rows if row.path not in ("m2.mp4", "m9.mp4")]
    np.testing.assert_array_equal(values, expected(good))
    counts = read_media(tmp_path / "log")
    assert counts["m2"] <= 4 and counts["m9"] <= 4


def test_a_model_that_fails_always_ends_the_run_in_one_sentence(cluster, run, tmp_path):
    with pytest.raises(UserError, match=r"8 tasks in a row failed; the last: .*a fault of the model"):
        run(rows_of(60), trouble={f"m{i}": "fail" for i in range(60)})
    refusing = DaskRunner(cluster, Reader(tmp_path / "log"), Loader(tmp_path / "log", refuse=True))
    with pytest.raises(UserError, match=r"^The checkpoint is missing\.$"):
        made(refusing, rows_of(4), store_in(tmp_path / "rows"))


def ahead(log: Path, taken: int) -> int:
    """Media that were read for tasks that nobody has taken yet."""
    counts = read_media(log)
    return sum(counts.values()) - counts["load"] - taken * MEDIA_PER_TASK


def test_a_slow_committer_holds_the_workers_back(cluster, tmp_path):
    rows, log = WantedRows.of(rows_of(80)), tmp_path / "log"
    making = DaskRunner(cluster, Reader(log), Loader(log), batch_size=BATCH).run(rows, Summary("slow"))
    most = 0
    for taken in range(1, 7):
        next(making)
        if taken == 1:
            wait_until(lambda: ahead(log, 1) > 0)
        time.sleep(0.3)
        most = max(most, ahead(log, taken))
    making.close()
    assert 0 < most <= 2 * WORKERS * MEDIA_PER_TASK
