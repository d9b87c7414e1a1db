"""Schedulers that are lost or not there, and workers that cannot do what they are asked: one sentence each."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess

import numpy as np
import pytest
from cluster_material import (
    Loader,
    Reader,
    expected,
    folder_with_clusters,
    made,
    read_media,
    rows_of,
    store_in,
    variables,
    when,
)
from dask_processes import REPOSITORY, WITHOUT_HEARONCE, processes_in
from waiting import FAR_OFF_S

from cache.errors import UserError
from pipeline.runner.dask.cluster import Cluster, open_cluster
from pipeline.runner.dask.runner import DaskRunner
from pipeline.runner.dask.worker import Site, code_versions, run_task


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    with processes_in(tmp_path_factory.mktemp("dask")) as one:
        yield one


@pytest.fixture(scope="module")
def scheduler(processes):
    """The file of a scheduler with two workers."""
    _, file = processes.scheduler()
    for _ in range(2):
        processes.worker(file)
    return file


@pytest.fixture
def project(tmp_path):
    """A folder in which the cluster `there` may be given any options."""
    with folder_with_clusters(tmp_path / "project"):
        yield lambda **options: (tmp_path / "project/configs/clusters/there.yaml").write_text(
            json.dumps(
                {"kind": "address", "patience_s": FAR_OFF_S, **{name: str(value) for name, value in options.items()}}
            )
        )


def run(tmp_path, n_media=4, seconds=0.0, folders=()):
    log = tmp_path / "log"
    with Cluster("there", folders) as cluster:
        maker = DaskRunner(cluster, Reader(log, seconds), Loader(log), batch_size=4)
        return made(maker, rows_of(n_media), store_in(tmp_path / "rows"))


def test_the_workers_of_a_scheduler_make_the_rows_wherever_they_see_the_project(project, scheduler, tmp_path):
    (tmp_path / "elsewhere").symlink_to(tmp_path / "project")
    project(scheduler_file=scheduler, project=tmp_path / "elsewhere")
    values, problems = run(tmp_path, 12)
    np.testing.assert_array_equal(values, expected(rows_of(12)))
    assert not problems
    project(scheduler_file=scheduler, project="/nowhere/hearonce")
    with pytest.raises(UserError, match=r"does not see the project folder /nowhere/hearonce .* say so by `project:`"):
        run(tmp_path, 13)


def test_no_worker_for_long_is_said(project, processes, tmp_path):
    _, file = processes.scheduler("lonely.json")
    project(scheduler_file=file, patience_s=1.2)
    with pytest.raises(UserError, match=r"has had no worker for 1 s.*start workers, or raise `patience_s`"):
        run(tmp_path)
    processes.worker(file, **WITHOUT_HEARONCE)
    project(scheduler_file=file)
    with pytest.raises(UserError, match=r"cannot run hearonce \(.*ModuleNotFoundError.*`uv run dask worker \.\.\.`"):
        run(tmp_path)


def test_a_scheduler_without_the_package_is_said(project, processes, tmp_path):
    _, file = processes.scheduler("bare.json", **WITHOUT_HEARONCE)
    processes.worker(file)
    project(scheduler_file=file)
    with pytest.raises(UserError, match=r"The scheduler of cluster 'there' cannot run hearonce \(.*dask scheduler"):
        run(tmp_path)


def test_a_worker_with_other_code_is_said(project, processes, tmp_path):
    for package in ("cache", "pipeline", "stages"):
        shutil.copytree(REPOSITORY / package, tmp_path / "other" / package, ignore=shutil.ignore_patterns("*.pyc"))
    with (tmp_path / "other/pipeline/runner/batches.py").open("a") as module:
        module.write("# changed\n")
    _, file = processes.scheduler("old.json")
    processes.worker(file, path=(tmp_path / "other", REPOSITORY / "tests"))
    project(scheduler_file=file)
    with pytest.raises(UserError, match=r"does not run what this process runs \(hearonce [0-9a-f]+ there"):
        run(tmp_path)
    site = Site(str(tmp_path), (), {}, {**code_versions(), "torch": "1.0"})  # and a worker that joins a run later
    said = run_task(len, [1], site)
    assert isinstance(said, UserError) and f"(torch {code_versions()['torch']} there, 1.0 here)" in str(said)


def test_a_folder_that_workers_do_not_see_is_said(tmp_path):
    (tmp_path / "here").mkdir()
    site = Site(str(tmp_path), (str(tmp_path / "here"), str(tmp_path / "videos")), {}, code_versions())
    assert f"does not see {tmp_path / 'videos'}:" in str(run_task(len, [1], site))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{closed}", "tcp://no-such-host.invalid:8786", "nonsense://x"])
def test_an_address_where_no_scheduler_answers_is_said_at_once(project, tmp_path, address, monkeypatch):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        closed = one.getsockname()[1]
    project(address=address.format(closed=closed))
    monkeypatch.setattr("pipeline.runner.dask.scheduler.CONNECT_S", FAR_OFF_S)  # at once, not when that is over
    with pytest.raises(UserError, match=r"^The Dask scheduler at .* cannot be reached \(.*\): is it running") as caught:
        run(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_address_that_says_nothing_is_given_up(project, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.runner.dask.scheduler.CONNECT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        project(address=f"tcp://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(UserError, match="cannot be reached"):
            run(tmp_path)


def test_a_cluster_without_an_address_or_with_wrong_options_is_said(project, tmp_path, monkeypatch):
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    project()
    with pytest.raises(UserError, match="set the environment variable DASK_SCHEDULER_ADDRESS"):
        run(tmp_path)
    project(scheduler_file=tmp_path / "none.json")
    with pytest.raises(UserError, match=r"There is no scheduler file .*none\.json"):
        run(tmp_path)
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(UserError, match=r"none\.json is no scheduler file"):
        run(tmp_path)
    project(address="tls://127.0.0.1:1", tls_ca=tmp_path / "ca.pem")
    with pytest.raises(UserError, match=r"There is no file .*ca\.pem, which the cluster's YAML names for TLS"):
        run(tmp_path)
    project(adress="tcp://127.0.0.1:1")
    with pytest.raises(UserError, match=r"there\.yaml.*adress.*address"):
        Cluster("there")
    with pytest.raises(UserError, match=r"No cluster 'their' .*there"), open_cluster("their"):
        pass


def test_a_scheduler_killed_during_a_run_keeps_what_was_committed(project, processes, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.runner.dask.scheduler.CONNECT_S", 5)
    process, file = processes.scheduler("killed.json")
    for _ in range(2):
        processes.worker(file)
    project(scheduler_file=file)
    log = tmp_path / "log"
    when(lambda: sum(read_media(log).values()) >= 30, process.kill)
    with pytest.raises(UserError, match=r"The scheduler of cluster 'there' does not answer any more; what was commit"):
        run(tmp_path, 60, seconds=0.05)
    kept = 240 - len(store_in(tmp_path / "rows").missing([row.key for row in rows_of(60)]))
    assert kept > 0
    _, file = processes.scheduler("new.json")
    processes.worker(file)
    project(scheduler_file=file)
    log.unlink()
    values, problems = run(tmp_path, 60)
    np.testing.assert_array_equal(values, expected(rows_of(60)))
    counts = read_media(log)
    assert not problems and sum(counts.values()) - counts["load"] == 60 - kept // 4


def test_workers_get_no_secrets(project, scheduler, tmp_path, monkeypatch):
    project(scheduler_file=scheduler)
    monkeypatch.setenv("HEARONCE_STORE", str(tmp_path / "project"))
    monkeypatch.setenv("HEARONCE_API_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Cluster("there") as cluster:
        tasks = iter([["HEARONCE_STORE", "HEARONCE_API_KEY", "HF_TOKEN"]])
        seen = [values for _, values in cluster.run(variables, lambda: next(tasks, None))]
    assert seen == [[".", None, None]]
    monkeypatch.delenv("HEARONCE_STORE")  # nor what an earlier run was told
    with Cluster("there") as cluster:
        tasks = iter([["HEARONCE_STORE"]] * 8)
        assert {values[0] for _, values in cluster.run(variables, lambda: next(tasks, None))} == {None}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_scheduler_that_wants_tls_is_reached_with_certificates_only(project, processes, tmp_path):
    key, cert = processes.folder / "key.pem", processes.folder / "cert.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*make, "-keyout", key, "-out", cert], check=True, capture_output=True)
    tls = ("--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)
    _, file = processes.scheduler("tls.json", *tls, "--protocol", "tls")
    processes.worker(file, *tls)
    project(scheduler_file=file, tls_ca=cert, tls_cert=cert, tls_key=key)
    values, _ = run(tmp_path)
    np.testing.assert_array_equal(values, expected(rows_of(4)))
    project(scheduler_file=file)
    with pytest.raises(UserError, match=r"tls://.* cannot be reached \(.*(TLS|tls|security|cert)"):
        run(tmp_path, 5)
