"""Every false store is one sentence and exit code 2: no traceback, no wait for ever, no memory for what it lacks."""

import contextlib
import io
import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

from faults.counting import ROUNDS, counts
from faults.false_stores import build

SECONDS = 60
MEMORY = 1 << 30
HARMLESS = re.compile(
    r"(Zarr|segment), (no (array|values|metadata)|arrays that are none|metadata that are a list|ids of|an id )"
)
"""What `import` need not refuse: it reads no ids, and where a group tells nothing of its arrays, they do."""


class TooLong(BaseException):
    pass


def ring(*_):
    raise TooLong


def command(*arguments: str) -> tuple[int, str]:
    from stages.command_line import main

    said = io.StringIO()
    sys.argv = ["hearonce", "cache", *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as left:
            return int(left.code or 0), said.getvalue()
    return 0, said.getvalue()


def tried(what: str, path: Path, is_store: bool, folder: Path) -> list[str]:
    """What is wrong with how the commands take it."""
    wrong = []
    into = folder / "into"
    refusing = ("merge", str(path), str(into)) if is_store else ("import", str(path))
    asked = [refusing, ("verify", str(path)), ("info", str(path))]
    if not is_store:
        asked.append(("convert", str(path), str(folder / "converted.zarr")))
    for arguments in asked:
        begun = time.monotonic()
        signal.alarm(SECONDS)
        try:
            code, said = command(*arguments)
        except TooLong:
            wrong.append(f"{what}: {arguments[0]} hangs")
            continue
        except BaseException:
            wrong.append(f"{what}: {arguments[0]}\n{traceback.format_exc()[-1500:]}")
            continue
        finally:
            signal.alarm(0)
        counts[f"false stores taken to `{arguments[0]}`"] += 1
        if arguments == refusing and code != 2 and not HARMLESS.search(what):
            wrong.append(f"{what}: {arguments[0]} left with {code}, {said!r}")
        if code not in ((0, 2, 3) if arguments[0] == "verify" else (0, 2)):
            wrong.append(f"{what}: {arguments[0]} left with {code}, {said!r}")
        if code == 2 and (said.count("\n") != 1 or len(said) > 1500):
            wrong.append(f"{what}: {arguments[0]} said {said[:500]!r}")
        if time.monotonic() - begun > 20:
            wrong.append(f"{what}: {arguments[0]} took {time.monotonic() - begun:.0f} s")
        for made in (into, Path(".hearonce")):
            shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(folder / "converted.zarr", ignore_errors=True)
    return wrong


def try_all(folder: Path, report: Path) -> None:
    """Builds false stores in a folder and reports how many, and what is wrong with how the commands take them."""
    command("ls")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    signal.signal(signal.SIGALRM, ring)
    wrong, n, turn = [], 0, itertools.count()
    for what, path, is_store in build(folder / "made"):
        if not ROUNDS > 1 and next(turn) % 3:
            continue
        n += 1
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY + (1 << 30), resource.RLIM_INFINITY))
        wrong += tried(what, path, is_store, folder)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    report.write_text(f"{n}\n" + "\n".join(wrong))


def test_false_stores_and_files_are_one_sentence(project, tmp_path):
    report = tmp_path / "report"
    # A process of its own, for its limit of memory; not a fork, which waits for ever for locks of other tests' threads.
    code = f"from pathlib import Path; from faults.test_false_stores import try_all; try_all(Path({str(tmp_path)!r}), "
    child = subprocess.run(
        [sys.executable, "-c", f"{code}Path({str(report)!r}))"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    n, _, wrong = report.read_text().partition("\n")
    counts["false stores and files"] += int(n)
    assert int(n) > 0
    assert not wrong
