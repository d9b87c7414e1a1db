"""Ctrl-C, and the signals by which schedulers and closing terminals end a run: it commits and leaves.

The first signal raises `Interrupted` in the main thread, and makes the threads that decode give up. A second Ctrl-C
leaves at once, which costs what is not committed. Whatever sends one signal twice (a scheduler to all processes of a
job, and a parent that passes it on) still sends the first only.

Python runs handlers in the main thread alone, and not while that waits in C: a thread watches that signals are heeded.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cache.errors import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NUDGE = signal.SIGURG
"""Means nothing; it wakes a thread that waits."""

EXIT_INTERRUPTED = 128 + signal.SIGINT
SAME_S = 0.5
"""A Ctrl-C this soon after the first signal is the same one, delivered twice."""


class Interrupted(KeyboardInterrupt):
    """A signal asks the run to end."""


class Stopped(Exception):
    """A thread has given up what it was at, since the run is to end. Nobody waits for it."""


give_up: list[Callable[[], None]] = []
"""Called once a second, from a thread, while a run is to end: cut short what threads wait for, where `check` does not
come by."""


class _State:
    def __init__(self) -> None:
        self.asked = threading.Event()
        self.number: int | None = None
        self.held = 0
        self.of_asyncio = False


_state = _State()


def stop_requested() -> bool:
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


def pause(seconds: float) -> None:
    """Sleeps, unless the run is to end; raises as `check` does."""
    _state.asked.wait(seconds)
    check()


def exit_code() -> int:
    """What an interrupted command leaves with: 128 and the number of the signal, as shells count."""
    return EXIT_INTERRUPTED if _state.number is None else 128 + _state.number


@contextmanager
def handled() -> Iterator[None]:
    """Handles the signals within the block; those that are ignored, as under nohup, stay ignored.

    When an interruption ends the block, the process is about to end, and a second Ctrl-C still counts.
    """
    global _state
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state = _State()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled_numbers = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in handled_numbers:
        signal.signal(number, _on_signal)
    watcher = _Watcher(handled_numbers)
    ends = False
    try:
        yield
    except BaseException:
        ends = stop_requested()
        raise
    finally:
        if not ends:
            watcher.end()
            for number, handler in before.items():
                signal.signal(number, handler)
            _state.asked.clear()


@contextmanager
def deferred() -> Iterator[None]:
    """The block runs to its end, a commit for example, before an interruption takes effect. For the main thread.

    An error that is no sentence for users counts as the work of the signal, which child processes may have got as well.
    """
    before = stop_requested()
    _state.held += 1
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if stop_requested() and not before:
            raise Interrupted from error
        raise
    finally:
        _state.held -= 1
    if not before and not _state.held:
        check()


@contextmanager
def handled_by_asyncio() -> Iterator[None]:
    """Within the block, `asyncio.run` ends its tasks in its own way at the first signal, and raises at the second."""
    before = signal.getsignal(signal.SIGINT)
    if before is not _on_signal:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _state.of_asyncio = True
    try:
        yield
    finally:
        _state.of_asyncio = False
        signal.signal(signal.SIGINT, before)


def _on_signal(number: int, frame: Any) -> None:
    if _state.asked.is_set():
        return
    _state.number = number
    _state.asked.set()
    of_asyncio = signal.getsignal(signal.SIGINT)
    if _state.of_asyncio and callable(of_asyncio):
        of_asyncio(number, frame)
    elif not _state.held:
        raise Interrupted


class _Watcher:
    """A thread that receives signals as they arrive, whatever the main thread is at.

    Args:
        numbers: of the signals that are handled.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before = signal.signal(NUDGE, lambda *_: None), signal.set_wakeup_fd(self._writing)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()

    def end(self) -> None:
        handler, descriptor = self._before
        signal.set_wakeup_fd(descriptor)
        os.write(self._writing, b"\0")
        self._thread.join()
        signal.signal(NUDGE, handler)
        os.close(self._reading)
        os.close(self._writing)

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [*SIGNALS, NUDGE])  # the main thread shall have them
        arrived = select.poll()
        arrived.register(self._reading, select.POLLIN)
        first: float | None = None
        pause_s: float | None = None
        while True:
            if not arrived.poll(None if pause_s is None else 1000 * pause_s):
                pause_s = self._insist(pause_s)
                continue
            number = os.read(self._reading, 1)[0]
            if number == 0:
                return
            if number not in self._numbers:
                continue
            if first is None:
                first, pause_s = time.monotonic(), 0.05
            elif number == signal.SIGINT and time.monotonic() - first >= SAME_S:
                _leave_at_once()

    def _insist(self, pause_s: float | None) -> float | None:
        """Wakes the main thread if it has begun to wait just before the signal came, and then what waits in threads.

        Returns:
            How long to wait before the next time.
        """
        if _state.of_asyncio:
            return None
        if _state.asked.is_set():
            for callback in give_up:
                callback()
            return 1.0
        signal.pthread_kill(threading.main_thread().ident or 0, NUDGE)
        return min(1.0, 2 * (pause_s or 1.0))


def _leave_at_once() -> None:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
    os.write(2, b"hearonce: left at once; what was committed is kept.\n")
    os._exit(EXIT_INTERRUPTED)
