"""Locks on files that may be renamed or removed while one waits for them. They end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pipeline.operations.interruption import pause

SHARED, EXCLUSIVE = fcntl.LOCK_SH, fcntl.LOCK_EX
AT_ONCE = fcntl.LOCK_NB
"""Added to a kind of lock: `BlockingIOError` instead of waiting."""

POLL_S = 0.05


def locked(path: Path, kind: int, flags: int = os.O_RDONLY) -> int | None:
    """A descriptor with the lock of the file that is at this path now; None if there is none any more.

    Args:
        path: of the file.
        kind: `SHARED` or `EXCLUSIVE`.
        flags: as for `os.open`.

    Raises:
        OSError: it cannot be opened, or is locked and `AT_ONCE` was asked for.
        Interrupted, Stopped: the run is to end, and another still holds the lock.
    """
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        return None
    try:
        _lock(descriptor, kind)
        if is_at(descriptor, path):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _lock(descriptor: int, kind: int) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, kind | AT_ONCE)
        except BlockingIOError:
            if kind & AT_ONCE:
                raise
        pause(POLL_S)  # a thread that waited in flock would not notice that the run is to end


def share(descriptor: int) -> None:
    """Lets others read what was locked exclusively. In between, somebody may remove it: look whether it `is_at`."""
    fcntl.flock(descriptor, SHARED)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def remove_unless_held(path: Path) -> bool:
    """Removes a file that nobody reads or writes; whether it is gone."""
    try:
        descriptor = locked(path, EXCLUSIVE | AT_ONCE)
    except OSError:
        return False
    if descriptor is not None:
        discard(descriptor, path)
    return True


def discard(descriptor: int, path: Path) -> None:
    """Closes a locked file, and removes it if it is still the one at a path."""
    try:
        if is_at(descriptor, path):
            path.unlink()
    finally:
        os.close(descriptor)
