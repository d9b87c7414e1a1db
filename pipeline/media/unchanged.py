"""Local media that must not change while they are read: what is stored under a digest comes from those very bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from cache.digests import DigestMemory, Seen, Stamp, stamp_of, stamps_in
from cache.location import Store
from pipeline.media.errors import MediaError

CHANGED = "has changed since it was ingested: run `dvc repro` again"
CHANGING = "has changed while it was being read: run `dvc repro` again when it is whole"

T = TypeVar("T")

_memories: dict[tuple[int, str], DigestMemory] = {}


def digest_memory() -> DigestMemory:
    """This process's memory of digests in the default store; one that lasts as long as the process where it has none.

    Raises:
        UserError: the store is not there.
    """
    path = Store.default().digests
    key = os.getpid(), os.path.abspath(path) if path.is_file() else ""
    if key not in _memories:
        _memories[key] = DigestMemory(path if key[1] else None)
    return _memories[key]


class Unchanged:
    """A file or folder of this machine that has the bytes of a digest as long as `check` raises nothing.

    It costs a `stat` (of a folder one of each file) unless the stamp is not the one that is remembered with the digest.

    Args:
        path: the file, or folder of frames.
        digest: of its bytes.
        memory: of digests.

    Raises:
        MediaError: it is missing, cannot be read, or has other bytes.
    """

    def __init__(self, path: Path, digest: str, memory: DigestMemory) -> None:
        self.path, self._digest, self._memory = path, digest, memory
        self._frames: dict[str, Stamp] = stamps_in(path) if path.is_dir() else {}
        self._seen = _look(memory, path)
        if self._seen.digest != digest:
            raise MediaError(CHANGED)

    def check(self) -> None:
        """Makes sure that all that was read so far were the bytes of the digest.

        Raises:
            MediaError: it has changed since.
        """
        try:
            same = stamp_of(self.path) == self._seen.stamp
            if same and not self._seen.settled:  # its times are too coarse, or in the future
                same = self._memory.look(self.path).digest == self._digest
        except OSError:
            same = False
        if not same:
            raise MediaError(CHANGING)

    def check_frames(self, names: Iterable[str]) -> None:
        """The same for some files of a folder, which costs a `stat` of each.

        Raises:
            MediaError: one has changed since.
        """
        if not self._seen.settled:
            return self.check()
        try:
            same = all(stamp_of(self.path / name) == self._frames.get(name) for name in names)
        except OSError:
            same = False
        if not same:
            raise MediaError(CHANGING)
        return None


def probed(path: Path, read: Callable[[Path], T], memory: DigestMemory) -> tuple[T, str]:
    """What `read` finds out about a file or folder, and the digest of the very bytes that it has read.

    Raises:
        MediaError: of `read`, or the medium changes meanwhile.
        OSError: it cannot be read.
    """
    before = stamp_of(path) if path.exists() else None
    found = read(path)
    seen = memory.look(path)
    if seen.stamp != before or (not seen.settled and memory.look(path).digest != seen.digest):
        raise MediaError("is being changed: run again when it is whole")
    return found, seen.digest


def _look(memory: DigestMemory, path: Path) -> Seen:
    try:
        return memory.look(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaError("file not found") from error
    except PermissionError as error:
        raise MediaError("no permission to read") from error
    except OSError as error:
        reason = CHANGING if error.errno == errno.EBUSY else f"cannot be read ({error.strerror})"
        raise MediaError(reason) from error
