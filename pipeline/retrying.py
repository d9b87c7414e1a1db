"""Attempts that are repeated as long as they may succeed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipeline.operations.interruption import check, pause

T = TypeVar("T")


def persist(
    attempt: Callable[[], T],
    reached: Callable[[], int],
    hopeless: Callable[[Exception], bool],
    tries: int,
    pause_s: float,
) -> T:
    """Calls until it succeeds.

    Args:
        attempt: what is tried; goes on where the last one ended.
        reached: how far all attempts have come, for example in bytes.
        hopeless: whether there is no use in trying again after an error.
        tries: attempts in a row that get no further before it is given up.
        pause_s: after the first of those; twice as long after the second, and so on.

    Raises:
        Exception: the error of the last attempt.
        Interrupted, Stopped: the run is to end.
    """
    failures, furthest = 0, reached()
    while True:
        try:
            return attempt()
        except Exception as error:
            check()
            now = reached()
            failures = 0 if now > furthest else failures + 1
            furthest = max(furthest, now)
            if hopeless(error) or failures >= tries:
                raise
        pause(pause_s * failures)
