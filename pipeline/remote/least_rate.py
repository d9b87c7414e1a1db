"""The least rate at which a server must send: below it a download would never end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator

from cache.errors import UserError

VARIABLE = "HEARONCE_LEAST_RATE"
DEFAULT = 10_000.0
"""Bytes per second; a telephone line has as much."""

WINDOW_S = 30.0
"""How long a server may be slower. A connection on which nothing comes at all is given up by its own time limit."""

ANSWER_S = 90.0
"""How long the head of an answer may take, from the question on."""


class TooSlow(Exception):
    """A server that sends less than the least rate."""

    def __init__(self, least: float) -> None:
        super().__init__(f"too slow: fewer than {least:g} bytes a second ({VARIABLE})")


def least_rate() -> float:
    """Bytes per second that a server must send, by the environment; 0 for no bound.

    Raises:
        UserError: the environment says no number.
    """
    given = os.environ.get(VARIABLE) or str(DEFAULT)
    try:
        rate = float(given)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < float("inf"):
        raise UserError(f"{VARIABLE} is {given!r}: give the bytes per second that servers must send, such as 10000.")
    return rate


def fast_enough(blocks: Iterable[bytes], window_s: float | None = None) -> Iterator[bytes]:
    """Passes blocks on as they come; the time that the receiver takes for them does not count.

    Raises:
        TooSlow: over a window, less came than the least rate.
    """
    least, window_s = least_rate(), WINDOW_S if window_s is None else window_s
    source = iter(blocks)
    waited, came = 0.0, 0
    while True:
        begun = time.monotonic()
        block = next(source, None)
        waited += time.monotonic() - begun
        if block is None:
            return
        came += len(block)
        if waited >= window_s:
            if came < least * waited:
                raise TooSlow(least)
            waited, came = 0.0, 0
        yield block


def patience_s(size: int) -> float | None:
    """How long a block of so many bytes may take at the least rate; None for ever."""
    least = least_rate()
    return WINDOW_S + size / least if least else None
