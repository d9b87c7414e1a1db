"""False stores, taken to the commands that read them: what is wrong with how they are refused.

`test_false_stores.py` takes a third of them, `python -m benchmarks.faults` all.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from faults.counting import counts
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


def campaign(folder: Path, every: int) -> tuple[int, list[str]]:
    """Takes one in so many false stores and files to the commands, in a process whose memory is bounded.

    The process is a fresh one: a fork would wait for ever for locks of other tests' threads.

    Args:
        folder: an empty one, to work in; the current folder is that of a project.
        every: 1 for all of them.

    Returns:
        How many were taken, and what was wrong.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        return fresh.submit(_taken, folder, every).result()


def _taken(folder: Path, every: int) -> tuple[int, list[str]]:
    command("ls")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    signal.signal(signal.SIGALRM, ring)
    wrong, n = [], 0
    for what, path, is_store in itertools.islice(build(folder / "made"), 0, None, every):
        n += 1
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY + (1 << 30), resource.RLIM_INFINITY))
        wrong += tried(what, path, is_store, folder)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return n, wrong
