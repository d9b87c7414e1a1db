import platform
from pathlib import Path

import pytest

from cache.location import LocalLocation
from pipeline.monitor.run_metrics import RUNS_FILE, Run, RunStats, comparable, keep, runs
from pipeline.monitor.summary import Summary
from pipeline.runner.plan import Plan


def record(made=10, seconds=4.0, device="cpu: x", cluster="", load=2.0, machine=None):
    parts = {"load": load, "encode": 1.0}
    found = Run.of("embed", RunStats(seconds + load, device, cluster), parts, made, None)
    return found if machine is None else Run(**{**vars(found), "machine": machine})


def test_a_run_that_made_something_leaves_a_record_however_it_ends(tmp_path):
    for error in (None, KeyboardInterrupt, OSError):
        summary = Summary("embed mine")
        try:
            with summary.recorded(tmp_path), summary.timed("encode"):
                summary.computed += 7
                if error:
                    raise error
        except BaseException as raised:
            assert type(raised) is error
    nothing = Summary("embed mine")
    with nothing.recorded(tmp_path):
        pass
    found = runs(LocalLocation(tmp_path))
    assert [(one.made, one.ended) for one in found] == [(7, "done"), (7, "interrupted"), (7, "failed")]
    assert all(0 < one.busy <= 1 and one.machine == platform.node() and one.peak_rss_bytes > 1e6 for one in found)


def test_what_cannot_be_read_or_written_does_not_matter(tmp_path):
    assert runs(LocalLocation(tmp_path)) == []
    keep(tmp_path, record())
    with (tmp_path / RUNS_FILE).open("ab") as file:
        file.write(b'{"half a li\n{"at": 3}\n\xff\n')
    keep(tmp_path, record(11))
    assert [one.made for one in runs(LocalLocation(tmp_path))] == [10, 11]
    keep(tmp_path / "not there", record())


def test_loading_the_model_is_no_part_of_the_speed_and_a_cluster_adds_up():
    assert record(10, 4.0, load=2.0).per_s == pytest.approx(2.5)
    assert record(10, 4.0, load=2.0).busy == pytest.approx(0.25)
    several = record(10, 4.0, cluster="slurm", load=20.0)
    assert several.per_s == pytest.approx(10 / 24.0) and several.busy is None


def test_an_estimate_comes_from_the_same_device_here_or_the_same_cluster():
    gpu, elsewhere, slurm = (
        record(device="cuda: H100"),
        record(12, machine="other"),
        record(device="?", cluster="slurm"),
    )
    found = [elsewhere, *(record(made) for made in range(1, 8)), gpu, slurm]
    assert [one.made for one in comparable(found, "cpu: x", "")] == [3, 4, 5, 6, 7]
    assert comparable(found, "cuda: H100", "") == [gpu]
    assert comparable(found, "", "slurm") == [slurm]
    assert comparable([elsewhere], "cpu: x", "") == [elsewhere]
    assert comparable(found, "mps", "") == []


def test_a_plan_says_how_long_it_takes():
    known = Plan("embed mine", 1000, 100, 900, "cpu: x", media=3, seconds=5400.0, runs=[record(10, 4.0)])
    assert str(known).splitlines()[0] == (
        "embed mine: 1000 rows wanted, 100 present, 900 to compute, from 3 media with 1:30:00 of them to go through"
    )
    assert "about 0:06:02, by 2.5 rows a second on cpu: x, and 2.0 s to load the model (one run" in str(known)
    assert "no earlier run on cpu: y to estimate it by" in str(Plan("embed", 5, 0, 5, "cpu: y"))
    assert "nothing to compute" in str(Plan("embed", 5, 5, 0, "cpu: y"))


def test_logs_and_records_do_not_confuse_the_cache_commands(project, hearonce):
    from cache.row_store import RowStore
    from cache.rows import RowFormat

    store = RowStore.ensure(Path(".hearonce/rows"), "captions", "ab" * 16, RowFormat(2))
    store.append([b"k" * 16], [[1.0, 2.0]])
    keep(Path(store.path), record())
    Path(".hearonce/logs").mkdir()
    for command in ("verify", "compact", "repair", "ls"):
        assert hearonce("cache", command)[0] == 0
    assert "2.5/s" in hearonce("cache", "info", store.path)[1]
    assert hearonce("cache", "merge", ".hearonce", "copy")[0] == 0
    assert len(RowStore.open(next(str(one) for one in Path("copy").iterdir()))) == 1
    assert hearonce("cache", "merge", "copy", ".hearonce")[0] == 0
