"""One function over many things in threads, and attempts that are repeated as long as they may succeed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from pipeline.monitor.device import processors
from pipeline.monitor.signals import check, pause

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def each_in_threads(
    function: Callable[[T], R], things: Iterable[T], workers: int | None = None
) -> Iterator[Iterator[R]]:
    """Gives an iterator over the results; when the block ends, early or not, what has not been begun never is.

    Args:
        function: called in threads; what it raises is raised where its result would come.
        things: its arguments.
        workers: threads; one per processor by default.
    """

    def unless_stopped(thing: T) -> R:
        check()
        return function(thing)

    pool = ThreadPoolExecutor(workers or processors())
    try:
        yield pool.map(unless_stopped, things)
    finally:
        pool.shutdown(cancel_futures=True)


def persist(
    attempt: Callable[[], T],
    reached: Callable[[], int],
    hopeless: Callable[[Exception], bool],
    tries: int,
    pause_s: float,
    asked_s: Callable[[Exception], float] = lambda error: 0.0,
) -> T:
    """Calls until it succeeds.

    Args:
        attempt: what is tried; goes on where the last one ended.
        reached: how far all attempts have come, for example in bytes.
        hopeless: whether there is no use in trying again after an error.
        tries: attempts in a row that get no further before it is given up.
        pause_s: after the first of those; twice as long after the second, and so on.
        asked_s: the least pause after an error, such as a server asks for.

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
            least_s = asked_s(error)
        pause(max(pause_s * failures, least_s))
