"""Ctrl-C, and the signals by which schedulers and closing terminals end a run: it commits and leaves.

The first signal raises `Interrupted` in the main thread, and tells the threads that decode to give up. A second Ctrl-C
leaves at once, which costs what is not committed. Whatever sends one signal twice (a scheduler to all processes of a
job, and a parent that passes it on) still sends the first only.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_INTERRUPTED = 128 + signal.SIGINT
SAME_S = 0.5
"""A Ctrl-C this soon after the first signal is the same one, delivered twice."""


class Interrupted(KeyboardInterrupt):
    """A signal asks the run to end."""


class Stopped(Exception):
    """A thread has given up what it was at, since the run is to end. Nobody is told: nobody waits for it."""


class _State:
    def __init__(self) -> None:
        self.asked = threading.Event()
        self.number: int | None = None
        self.at = 0.0
        self.held = 0


_state = _State()


def asked() -> bool:
    """Whether the run is to end."""
    return _state.asked.is_set()


def check() -> None:
    """To be called now and then where something takes long: raises if the run is to end.

    Raises:
        Interrupted: in the main thread.
        Stopped: in another.
    """
    if _state.asked.is_set():
        raise Interrupted if threading.current_thread() is threading.main_thread() else Stopped


def exit_code() -> int:
    """What an interrupted command leaves with: 128 and the number of the signal, as shells count."""
    return EXIT_INTERRUPTED if _state.number is None else 128 + _state.number


@contextmanager
def handled() -> Iterator[None]:
    """Handles the signals within the block; those that are ignored, as under nohup, stay ignored."""
    global _state
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state = _State()
    before = {one: signal.getsignal(one) for one in SIGNALS}
    try:
        for one, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(one, _on_signal)
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        _state.asked.clear()


@contextmanager
def held_back() -> Iterator[None]:
    """The block runs to its end, a commit for example, before an interruption takes effect. For the main thread."""
    before = asked()
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
    if not before and not _state.held:
        check()


@contextmanager
def left_to_asyncio() -> Iterator[None]:
    """Within the block, `asyncio.run` ends its tasks in its own way at the first signal, and raises at the second."""
    before = signal.getsignal(signal.SIGINT)
    if before is not _on_signal:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _on_signal(number: int, frame: Any) -> None:
    if _state.asked.is_set():
        if number == signal.SIGINT and time.monotonic() - _state.at >= SAME_S:
            _leave_at_once()
        return
    _state.number, _state.at = number, time.monotonic()
    _state.asked.set()
    of_asyncio = signal.getsignal(signal.SIGINT)
    if of_asyncio is not _on_signal and callable(of_asyncio):
        of_asyncio(number, frame)
    elif not _state.held:
        raise Interrupted


def _leave_at_once() -> None:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
    os.write(2, b"hearonce: left at once; what was committed is kept.\n")
    os._exit(EXIT_INTERRUPTED)
