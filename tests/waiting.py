"""Waits that follow what is waited for, not the clock: on a busy machine all takes longer, and that is no fault.

A wait ends when its condition holds, when a process that it watches has ended, or when none of them has used any
processor time for long. Time counts only as far as this process itself gets to run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

IDLE_S = 60.0
"""So long may watched processes do nothing at all."""
FAR_OFF_S = 900.0
"""No wait ends because of this one, unless something hangs: for events, barriers and pools, which take a number."""
_LOOK_EVERY_S = 0.5
_LIBC = ctypes.CDLL(None)

Watched = subprocess.Popen | BaseProcess


def wait_until(condition: Callable[[], object], *watched: Watched, step_s: float = 0.01) -> None:
    """Waits until a condition holds.

    Args:
        condition: asked again and again.
        watched: processes that are to bring it about.
        step_s: between two questions.

    Raises:
        AssertionError: a watched process has ended before, or does nothing any more.
    """
    patience = _Patience(watched)
    while not condition():
        gone = [one for one in watched if _status(one) is not None]
        if gone and not condition():
            raise AssertionError(f"a process ended with {_status(gone[0])} before what it was watched for")
        patience.check()
        time.sleep(step_s)


def output_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What `communicate` gives of a process that ends by itself.

    Raises:
        AssertionError: it does nothing any more.
    """
    patience = _Patience((process,))
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_LOOK_EVERY_S)
        patience.check()


def end_with_parent() -> None:
    """For `preexec_fn`: the process is killed when the thread that started it ends, however that happens."""
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class _Patience:
    def __init__(self, watched: tuple[Watched, ...]) -> None:
        self._watched = watched
        self._looked, self._used = time.monotonic(), -1.0
        self._idle_s = self._all_s = 0.0

    def check(self) -> None:
        since = time.monotonic() - self._looked
        if since < _LOOK_EVERY_S:
            return
        self._looked += since
        used = sum(processor_s(one.pid or 0) for one in self._watched)
        self._idle_s = self._idle_s + min(since, 2 * _LOOK_EVERY_S) if used == self._used else 0.0
        self._all_s += min(since, 2 * _LOOK_EVERY_S)
        self._used = used
        if self._watched and self._idle_s > IDLE_S:
            raise AssertionError(f"what is waited for has done nothing for {IDLE_S:.0f} s")
        if self._all_s > FAR_OFF_S:
            raise AssertionError(f"waited {FAR_OFF_S:.0f} s in vain")


def processor_s(pid: int) -> float:
    """Processor time of a process and of all that it has started, in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # it has ended
        return 0.0
    own = sum(int(fields[at]) for at in range(11, 15)) / os.sysconf("SC_CLK_TCK")  # with those that were waited for
    return own + sum(processor_s(child) for child in children)


def _status(process: Watched) -> int | None:
    return process.poll() if isinstance(process, subprocess.Popen) else process.exitcode
