import json
import os
from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.monitor.events import event, without_secrets
from pipeline.monitor.log import KEPT, logged
from pipeline.monitor.problems import Problems, StrictStop
from pipeline.monitor.progress import progress
from pipeline.monitor.summary import Summary


@logged
def bake(corpus: str, encoder: str, strict: bool = False, dry_run: bool = False) -> None:
    summary = Summary(f"bake {corpus}", wanted=3, computed=2, failed=1)
    with summary.timed("decode"):
        summary.add_note("a remark")
    Problems("bake", strict).add("clip7", "7.mp4", "truncated")


def written() -> list[list[dict]]:
    """The lines of every log, oldest first."""
    files = sorted(Path(".hearonce/logs").glob("*/*/*.jsonl"), key=lambda path: path.name)
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in files]


def test_a_run_writes_down_how_it_began_went_and_ended(project, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/hearonce", "bake", "mine", "big one"])
    bake("mine", "resnet")
    assert [path.parent.name for path in Path(".hearonce/logs/bake").glob("*/*.jsonl")] == ["mine.resnet"]
    ((start, remark, problem, end),) = written()
    assert [one["event"] for one in (start, remark, problem, end)] == ["start", "note", "problem", "end"]
    assert start["command"] == "hearonce bake mine 'big one'" and start["options"]["strict"] is False
    assert start["versions"]["hearonce"].startswith("0.") and start["pid"] == os.getpid()
    assert (problem["stage"], problem["id"], problem["reason"]) == ("bake", "clip7", "truncated")
    assert problem["level"] == "warning" and remark["text"] == "a remark"
    (counters,) = end["summaries"]
    assert (counters["wanted"], counters["computed"], counters["failed"]) == (3, 2, 1)
    assert counters["seconds"].keys() == {"decode"} and end["exit_code"] == 0 and end["peak_rss_bytes"] > 1e6


def test_every_kind_of_end_is_written_down(project):
    @logged
    def end(error: BaseException | None) -> None:
        if error:
            raise error

    ends = [None, UserError("no such corpus"), StrictStop("a problem"), SystemExit(3), KeyboardInterrupt(), KeyError(1)]
    for error in ends:
        try:
            end(error)
        except BaseException as raised:
            assert raised is error
    found = [lines[-1] for lines in written()]
    assert [one["exit_code"] for one in found] == [0, 2, 4, 3, 130, 1]
    assert [one.get("error") for one in found] == [
        None,
        "no such corpus",
        "a problem",
        None,
        "interrupted",
        "KeyError: 1",
    ]
    assert "raise error" in found[-1]["traceback"]


def test_a_dry_run_has_no_log_and_what_happens_outside_a_run_goes_nowhere(project, capsys):
    bake("mine", "resnet", dry_run=True)
    event("commit", rows=3)
    assert not Path(".hearonce").exists() and capsys.readouterr() == ("", "")


def test_secrets_are_not_written(project, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-1234567890")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc/def+ghi=")

    @logged
    def fetch(url: str) -> None:
        raise RuntimeError(f"GET {url} with abc/def+ghi= failed")

    signed = "https://me:pass@host.org/a/b.mp4?X-Amz-Signature=0123abcd"
    with pytest.raises(RuntimeError):
        fetch(signed + "&key=sk-1234567890")
    text = "".join(path.read_text() for path in Path(".hearonce/logs").rglob("*.jsonl"))
    assert "https://host.org/a/b.mp4" in text and "$AWS_SECRET_ACCESS_KEY" in text
    for secret in ("0123abcd", "sk-1234567890", "me:pass", "abc/def"):
        assert secret not in text and not any(secret in path.name for path in Path(".hearonce").rglob("*"))
    assert without_secrets("see (https://a.org/x?y) and C:\\a?b") == "see (https://a.org/x) and C:\\a?b"


def test_old_logs_are_removed(project):
    for _ in range(KEPT + 3):
        bake("mine", "resnet")
    bake("mine", "other")
    assert len(list(Path(".hearonce/logs/bake/mine.resnet").iterdir())) == KEPT
    assert len(written()) == KEPT + 1


def test_a_log_that_cannot_be_written_stops_nothing(project, capsys):
    Path(".hearonce").write_text("a file stands here")
    bake("mine", "resnet")
    Path(".hearonce").unlink()

    @logged
    def full() -> None:
        event("before")
        (path,) = Path(".hearonce/logs/full/all").iterdir()
        descriptor = next(int(one) for one in os.listdir("/proc/self/fd") if _names(one, path))
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
        event("after")

    full()
    assert [one["event"] for one in written()[0]] == ["start", "before"]
    assert capsys.readouterr() == ("", "")


def _names(descriptor: str, path: Path) -> bool:
    try:
        return os.path.realpath(f"/proc/self/fd/{descriptor}") == str(path.resolve())
    except OSError:
        return False


def test_progress_is_written_down_now_and_then(project, monkeypatch):
    monkeypatch.setattr("pipeline.monitor.progress.LOG_EVERY_S", 0.0)

    @logged
    def long() -> None:
        with progress("long", 10) as advance:
            advance(4)
            advance(6)

    long()
    (told,) = (one for one in written()[0] if one["event"] == "progress")
    assert (told["done"], told["total"]) == (4, 10) and told["per_s"] > 0


def test_the_last_runs_are_listed_and_shown(project, hearonce):
    bake("mine", "resnet")
    code, listed, _ = hearonce("logs", "bake")
    assert code == 0 and "mine.resnet" in listed and str(os.getpid()) in listed
    _, shown, _ = hearonce("logs", "--show", os.getpid())
    assert [json.loads(line)["event"] for line in shown.splitlines()] == ["start", "note", "problem", "end"]
    code, _, said = hearonce("logs", "fry")
    assert code == 2 and "has no log of that stage or name" in said
