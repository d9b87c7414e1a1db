"""Where the time of a run went."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """Seconds by part (`decode`, `encode`, `write`); those of several threads, processes or machines add up.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the time of a block to a part."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.add({part: time.monotonic() - started})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds what another has measured."""
        with self._lock:
            for part, more in seconds.items():
                self.seconds[part] = self.seconds.get(part, 0.0) + more
