"""Calls of several threads made as one, where a function takes about as long for a few things as for one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Together(Generic[T, R]):
    """A function of one thing, called by many threads; what comes while it is busy is done in one call afterwards.

    Args:
        function: of several things, giving a result for each; called by one thread at a time.
        most: things in a call.

    Example:
        >>> Together(lambda texts: [text.upper() for text in texts], most=32)("a")
        'A'
    """

    def __init__(self, function: Callable[[Sequence[T]], Sequence[R]], most: int) -> None:
        self._function, self._most = function, most
        self._waiting: deque[tuple[T, Future[R]]] = deque()
        self._busy = threading.Lock()

    def __call__(self, thing: T) -> R:
        """The function's result for one thing.

        Raises:
            Exception: what the function raises for this thing.
        """
        future: Future[R] = Future()
        self._waiting.append((thing, future))
        with self._busy:  # whoever comes first does what has come until then, also for those behind
            while not future.done():
                self._next()
        return future.result()

    def _next(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
        try:
            results = self._function([thing for thing, _ in batch])
        except BaseException as error:
            if len(batch) == 1 or not isinstance(error, Exception):
                for _, future in batch:
                    future.set_exception(error)
                if not isinstance(error, Exception):
                    raise
                return
            for thing, future in batch:  # one's fault is not the others'
                try:
                    future.set_result(self._function([thing])[0])
                except Exception as own:
                    future.set_exception(own)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
