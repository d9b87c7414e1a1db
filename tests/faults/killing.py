"""Runs work in a forked child and kills it with SIGKILL at a random moment."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from faults.counting import counts

Say = Callable[[int], None]
"""Tells the parent a number; what was told before the kill arrives."""


@dataclass(frozen=True)
class Ended:
    """What became of a child.

    Attributes:
        killed: whether the signal met it alive.
        said: the numbers it told.
        seconds: how long it lived.
    """

    killed: bool
    said: list[int]
    seconds: float


def in_child(work: Callable[[Say], None], kill_after: float | None = None, told: int = 0) -> Ended:
    """Runs `work` in a child to its end, or kills the child some seconds after it has told so many numbers."""
    reader, writer = os.pipe()
    os.set_blocking(writer, True)
    sys.stdout.flush()
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            work(lambda number: os.write(writer, number.to_bytes(4, "little")) and None)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    data = b""
    if kill_after is not None:
        while len(data) < 4 * told and (block := os.read(reader, 1 << 16)):
            data += block
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    while block := os.read(reader, 1 << 16):
        data += block
    os.close(reader)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    killed = kill_after is not None and code == -signal.SIGKILL
    assert killed or code == 0, f"the child ended with {code}, see its traceback above"
    counts["children killed with SIGKILL"] += killed
    said = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    return Ended(killed, said, time.perf_counter() - started)


def kill_at_random(work: Callable[[Say], None], within: float, dice: random.Random, told: int = 0) -> Ended:
    """Kills a child at a moment drawn from the first `within` seconds of its life, or since it has told numbers."""
    return in_child(work, dice.uniform(0.0, within), told)
