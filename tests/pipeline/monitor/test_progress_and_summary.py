import io
import sys

from pipeline.monitor import progress as progress_module
from pipeline.monitor.progress import progress
from pipeline.monitor.summary import Summary


def test_a_log_gets_plain_lines_with_rate_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr(progress_module, "LOG_EVERY_S", 0.0)
    with progress("embed demo", 10) as advance:
        advance(4)
    line = capsys.readouterr().err
    assert line.startswith("embed demo: 4/10 rows, ")
    assert line.rstrip().endswith("s left")
    assert "\x1b" not in line


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("embed demo", 10) as advance:
        advance(10)
    assert "10/10" in terminal.getvalue()
    assert "rows/s" in terminal.getvalue()


def test_nothing_to_do_shows_nothing(capsys):
    with progress("embed demo", 0) as advance:
        advance()
    assert capsys.readouterr().err == ""


def test_the_summary_line_names_all_counts_and_times():
    summary = Summary("embed demo x clips", wanted=10, found=7, computed=2, failed=1, note="a remark")
    with summary.timed("decode"):
        pass
    line = summary.line()
    assert line.startswith("embed demo x clips: 10 rows wanted, 7 found in cache, 2 computed, 1 failed; decode 0.0")
    assert line.endswith("; a remark")


def test_the_summary_of_a_stage_without_a_cache_names_none():
    assert Summary("score x", wanted=3, computed=3).line().startswith("score x: 3 rows wanted, 3 computed, 0 failed;")
    cached = Summary("embed x", wanted=3)
    cached.count_found(0)
    assert "3 rows wanted, 0 found in cache, 0 computed" in cached.line()
