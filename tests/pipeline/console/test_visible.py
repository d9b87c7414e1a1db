r"""No character of a file name, caption or answer reaches a terminal as a command: all are shown as escapes."""

import io
import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from cache.tables import PROBLEMS, write_table
from pipeline.config import layout
from pipeline.console.app import lazy_group, run, typer
from pipeline.console.tables import print_table
from pipeline.console.text import visible, visible_json, visible_streams
from pipeline.monitor.events import event
from pipeline.monitor.log import logged
from pipeline.monitor.progress import progress
from stages.report.page import render

EVIL = "a\x1b[2J\x1b]0;t\x07\u202egpj.exe\x9b31m\x7f\r\n\u2028b\ud83d"
SHOWN = r"a\x1b[2J\x1b]0;t\x07\u202egpj.exe\x9b31m\x7f\r\n\u2028b\ud83d"
COMMANDS = set("\x1b\x07\u202e\x9b\x7f\r\u2028\ud83d")


@given(st.text(st.characters(), max_size=30))
def test_all_that_is_no_letter_or_mark_is_escaped(text):
    shown = visible(text)
    assert all(unicodedata.category(one) not in ("Cc", "Cs", "Zl", "Zp") for one in shown)
    assert all(unicodedata.category(one) != "Cf" or one in "\u200c\u200d" for one in shown)
    shown.encode()
    assert json.loads(visible_json([text], ensure_ascii=False)) == json.loads(visible_json([text])) == [text]
    assert not set(visible_json([text], ensure_ascii=False)) & (COMMANDS | {"\n"})


def test_letters_of_all_scripts_stay():
    for text in ("größe 犬が吠える שלום नमस्ते", "family \U0001f468\u200d\U0001f469\u200d\U0001f467", r"C:\videos\new"):
        assert visible(text) == text
    assert visible("a\n\tb\x1b", breaks=True) == "a\n\tb\\x1b"


def test_what_is_printed_is_shown_and_what_rich_draws_is_left(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    with visible_streams():
        print(EVIL.replace("\n", "|"))
        sys.stderr.write("\x1b[8mhidden\n")
        print_table("title \x1b[1m", ["name"], [[EVIL]])
        with progress(f"corpus {EVIL}", 2) as advance:
            print("\x1b[31mred")
            advance(2)
    assert sys.stdout is terminal
    said = terminal.getvalue()
    assert SHOWN.replace(r"\n", "|") in said and r"\x1b[8mhidden" in said and r"\x1b[31mred" in said
    assert r"title \x1b[1m" in said and "\x1b[" in said  # rich's own are there
    assert "\x1b[2J" not in said and "\x1b]0" not in said and not set(said) & (COMMANDS - {"\x1b", "\r"})


def test_errors_are_one_line(capsys, monkeypatch):
    def fail():
        raise UserError(f"{EVIL} is no video.")

    monkeypatch.setattr("sys.argv", ["hearonce"])
    app = typer.Typer()
    app.command()(fail)
    with pytest.raises(SystemExit):
        run(app)
    assert capsys.readouterr().err == f"hearonce: {SHOWN} is no video.\n"
    assert lazy_group({}) is not None


def test_problems_and_logs(project, hearonce):
    name = EVIL.replace("\ud83d", "")
    rows = {"stage": ["ingest"], "id": [name], "path": [name], "reason": [f"no sound in {name}"]}
    write_table(pl.DataFrame(rows, dict(PROBLEMS)), PROBLEMS, layout.problems("mine", "ingest"))
    Path("params.yaml").write_text(
        "corpora: {mine: {media: videos, annotations: a.csv}}\nembeddings: {}\nsubsets: {}\n"
    )
    code, out, _ = hearonce("problems")
    assert code == 3 and r"\x1b[2J" in out and not set(out) & COMMANDS

    @logged
    def look() -> None:
        event("problem", text=EVIL, path=Path("\udcff\x1b"))

    look()
    (log,) = Path(".hearonce/logs").rglob("*.jsonl")
    text = log.read_text(encoding="utf-8")
    assert not set(text) & COMMANDS
    assert json.loads(text.splitlines()[1])["text"] == EVIL
    code, out, _ = hearonce("logs", "--show", "Z")
    assert code == 0 and json.loads(out.splitlines()[1])["text"] == EVIL


def test_the_report_escapes_them_too():
    row = {
        "stage": "ingest",
        "id": EVIL,
        "path": "<script>alert(1)</script>",
        "reason": EVIL,
        "corpus": "c",
        "encoder": "",
    }
    page = render([], [row], "title \x1b", {"commit": "\u202e"})
    assert not set(page) & COMMANDS and "<script>alert" not in page
    assert r"\x1b[2J" in page and r"title \x1b" in page


def test_the_command_itself(tmp_path):
    """A file name in an argument, through the real entry point."""
    code = "from stages.command_line import main; import sys; sys.argv = ['hearonce', 'ingest', 'a\\x1b[2J']; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "\x1b" not in done.stderr
