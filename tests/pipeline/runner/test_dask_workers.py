"""Clusters that hearonce starts: on this machine, one worker per GPU, SLURM jobs; and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_material import ended, folder_with_clusters, read_media, rows_of, store_in, variables, when
from waiting import output_of, wait_until

from cache.errors import UserError
from pipeline.monitor.signals import EXIT_INTERRUPTED
from pipeline.runner.dask.cluster import Cluster
from pipeline.runner.dask.workers import threads_environment, visible_gpus

REPOSITORY = Path(__file__).parents[3]
ASKED = ["CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HEARONCE_WORKER_THREADS"]
SBATCH = """#!/usr/bin/env bash
# Runs a job script at once, in the background, as a node with two GPUs would.
cp "$1" "$JOBS/script"
CUDA_VISIBLE_DEVICES=4,5 setsid bash "$JOBS/script" >"$JOBS/out" 2>&1 &
echo $! >"$JOBS/$!.job"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/usr/bin/env bash
echo "$1" >>"$JOBS/cancelled"
kill -- "-$1"
"""


def seen_by_workers(cluster: Cluster, tasks: int) -> set[tuple[str | None, ...]]:
    waiting = iter([ASKED] * tasks)
    return {tuple(values) for _, values in cluster.run(variables, lambda: next(waiting, None))}


def test_each_worker_sees_its_own_gpu_and_its_share_of_the_processors(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.runner.dask.workers.processors", lambda: 6)
    with folder_with_clusters(tmp_path, two={"kind": "cuda", "gpus": [0, 1]}), Cluster("two") as cluster:
        assert seen_by_workers(cluster, 40) == {("0", "3", "3"), ("1", "3", "3")}


def test_gpus_are_those_that_cuda_shows(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    assert visible_gpus() == ["2", "GPU-5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with folder_with_clusters(tmp_path, none={"kind": "cuda"}), Cluster("none") as cluster:
        with pytest.raises(UserError, match="CUDA shows none here: use `--cluster local`"):
            seen_by_workers(cluster, 1)
    assert threads_environment(4)["OMP_NUM_THREADS"] == "4"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """`sbatch` and `scancel` that really run the jobs; the folder that they note them in."""
    jobs, commands = tmp_path / "jobs", tmp_path / "bin"
    jobs.mkdir()
    commands.mkdir()
    for name, script in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("JOBS", str(jobs))
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{REPOSITORY / 'tests'}")
    return jobs


def test_slurm_jobs_get_what_the_yaml_says_and_are_cancelled_at_the_end(slurm, tmp_path):
    options = {
        "kind": "slurm",
        "cores": 4,
        "memory": "3GB",
        "walltime": "00:10:00",
        "queue": "gpu",
        "account": "mine",
        "gpus": 2,
        "directives": ["--constraint=a100"],
        "prologue": ["export FROM_PROLOGUE=1"],
    }
    with folder_with_clusters(tmp_path / "project", jobs=options), Cluster("jobs") as cluster:
        assert seen_by_workers(cluster, 1) <= {("4", "2", "2"), ("5", "2", "2")}
        wait_until(lambda: cluster._open()[1].threads() == 2, step_s=0.1)
        assert seen_by_workers(cluster, 40) == {("4", "2", "2"), ("5", "2", "2")}
        script = (slurm / "script").read_text()
    for line in (
        "#SBATCH -p gpu",
        "#SBATCH -A mine",
        "#SBATCH -n 1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=3G",
        "#SBATCH -t 00:10:00",
        "#SBATCH --gpus=2",
        "#SBATCH --constraint=a100",
        "export FROM_PROLOGUE=1",
        "export OMP_NUM_THREADS=2",
    ):
        assert f"\n{line}\n" in script, line
    assert f"{sys.executable} -m distributed.cli.dask_worker tcp://" in script and "--nworkers 2" in script
    (job,) = slurm.glob("*.job")
    assert (slurm / "cancelled").read_text().split() == [job.stem] and ended(int(job.stem))


def test_jobs_that_slurm_refuses_and_machines_without_slurm_are_said(slurm, tmp_path, monkeypatch):
    options = {"kind": "slurm", "cores": 1, "memory": "1GB"}
    (tmp_path / "bin/sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified' >&2\nexit 1\n")
    with folder_with_clusters(tmp_path / "project", jobs=options), Cluster("jobs") as cluster:
        with pytest.raises(UserError, match=r"SLURM refuses the jobs \(sbatch: error: invalid partition specified\)"):
            seen_by_workers(cluster, 1)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(UserError, match="wants the command `sbatch`, and there is none here"):
            seen_by_workers(cluster, 1)


def test_ctrl_c_commits_what_came_back_and_leaves_no_process_behind(tmp_path):
    log, scratch = tmp_path / "log", tmp_path / "scratch"
    scratch.mkdir()
    environment = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "TMPDIR": str(scratch)}
    with folder_with_clusters(tmp_path / "project", two={"kind": "local", "workers": 2}) as project:
        process = subprocess.Popen(
            [sys.executable, "-m", "cluster_run", "two", log, "400"],
            env={**os.environ, **environment},
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        # as a terminal does: the whole group hears of it
        when(lambda: sum(read_media(log).values()) >= 24, lambda: os.killpg(process.pid, signal.SIGINT))
        _, said = output_of(process)
        assert process.returncode == EXIT_INTERRUPTED, said
        first, *others = [line for line in said.splitlines() if "/s, " not in line]  # the others tell progress
        assert first.startswith("cluster two: 2 workers, dashboard http://127.0.0.1:")
        assert len(others) == 1 and others[0].startswith("hearonce: interrupted; everything that was committed is kept")
        rows = rows_of(400)
        assert 0 < len(rows) - len(store_in(project / "rows").missing([row.key for row in rows])) < len(rows)
    workers = {int(line.split()[1]) for line in log.read_text().splitlines()}
    assert len(workers) == 2 and all(ended(worker) for worker in workers)
    assert not list(scratch.iterdir())
