"""Room for files in a folder that may not grow beyond a bound: what was used longest ago gives way."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from cache.errors import writing
from pipeline.operations.interruption import pause
from pipeline.remote.file_lock import EXCLUSIVE, POLL_S, locked, remove_unless_held

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
