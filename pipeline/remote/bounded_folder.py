"""Room for files in a folder that may not grow beyond a bound: what was used longest ago gives way."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from cache.errors import writing
from pipeline.monitor.signals import pause

UNFINISHED = ".part"
_TURN = "turn.lock"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Room:
    """The room of a folder that several processes share.

    Args:
        folder: whose files, but for the lock, are removed when room is needed unless somebody has locked them.
        most_bytes: that all files may have together. A file whose size is not known beforehand may exceed it for a
            while.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes

    def take(self, size: int, part: Path, descriptor: int) -> None:
        """Gives an unfinished file its size, and waits until there is room for it.

        One at a time waits, so that none does for ever: the others cannot take what it waits for.

        Args:
            size: in bytes, 0 if that is not known.
            part: the file, which is emptied first.
            descriptor: of it, locked.

        Raises:
            UserError: the disk is full, and nothing in the folder can give way.
        """
        with writing(part):
            os.ftruncate(descriptor, 0)
        with writing(self.folder / _TURN):
            turn = locked(self.folder / _TURN, EXCLUSIVE, os.O_RDWR | os.O_CREAT)
        try:
            while not (self._fits(size, part) and self._reserved(size, part, descriptor)):
                pause(POLL_S)
        finally:
            if turn is not None:
                os.close(turn)

    def files(self) -> list[tuple[Path, int, int]]:
        """Path, bytes and time of the last use of all files, unfinished ones included; the oldest first."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    if entry.name != _TURN and entry.is_file():
                        found.append((Path(entry.path), status.st_size, status.st_mtime_ns))
        return sorted(found, key=lambda one: one[2])

    def _fits(self, size: int, part: Path) -> bool:
        """Whether there is room now, after what can go has gone: first what dead downloads have left."""
        others = [one for one in self.files() if one[0] != part]
        used = sum(bytes for _, bytes, _ in others)
        for path, bytes, _ in sorted(others, key=lambda one: one[0].suffix != UNFINISHED):
            if (path.suffix == UNFINISHED or used + size > self.most_bytes) and remove_unless_held(path):
                used -= bytes
        return used + size <= self.most_bytes

    def _reserved(self, size: int, part: Path, descriptor: int) -> bool:
        """Takes the room on the disk; if the disk is full, one file gives way (False: try again)."""
        with writing(part):
            try:
                if size:
                    os.posix_fallocate(descriptor, 0, size)
            except (OSError, AttributeError) as error:
                if getattr(error, "errno", None) not in _FULL:
                    os.ftruncate(descriptor, size)  # this system cannot reserve, but count
                    return True
                os.ftruncate(descriptor, 0)
                if not any(remove_unless_held(path) for path, _, _ in self.files() if path != part):
                    raise
                return False
        return True


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
