"""One function over many things in threads, results in order; nothing new is begun once nobody wants results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from pipeline.operations.interruption import check

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

    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        yield pool.map(unless_stopped, things)
    finally:
        pool.shutdown(cancel_futures=True)
