"""Local media that must not change while they are read: what is stored under a digest comes from those very bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cache.digests import DigestMemory, Seen, Stamp, stamp_of, stamps_in
from cache.location import Store
from pipeline.media.errors import MediaError
from pipeline.media.frame_folder import PICTURE_NAME
from pipeline.media.opening import first_bytes

CHANGED = "has changed since it was ingested: run `dvc repro` again"
CHANGING = "has changed while it was being read: run `dvc repro` again when it is whole"

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

    It costs a `stat` (of a folder one for each file), and reading it where its stamp is not the remembered one.

    Args:
        path: the file, or folder of frames.
        digest: of its bytes.
        memory: of digests.

    Attributes:
        path: the same.
        digest: the same.

    Raises:
        MediaError: it is missing, cannot be read, or has other bytes.
    """

    def __init__(self, path: Path, digest: str, memory: DigestMemory) -> None:
        self.path, self.digest, self._memory = path, digest, memory
        self._files: dict[str, Stamp] = {}
        self._seen = _seen(self._look)
        if self._seen.digest != digest:
            raise MediaError(CHANGED)

    def _look(self) -> Seen:
        if not self.path.is_dir():
            return self._memory.look(self.path)
        stamp, self._files = stamps_in(self.path)
        return self._memory.look(self.path, stamp)

    def check(self) -> None:
        """Makes sure that all that was read so far were the bytes of the digest.

        Raises:
            MediaError: it has changed since.
        """
        try:
            same = stamp_of(self.path) == self._seen.stamp
        except OSError:
            same = False
        if not same:
            raise MediaError(CHANGING)

    def pictures(self, numbers: Iterable[int], clamp: bool) -> Pictures | None:
        """Watches pictures of a folder one by one, which costs a `stat` of each; None if the medium is no folder.

        Args:
            numbers: of the pictures that will be read.
            clamp: a number before the first picture stands for the first, one after the last for the last.
        """
        if not self._files:
            return None
        names = {int(match[1]): name for name in self._files if (match := PICTURE_NAME.fullmatch(name))}
        chosen = {number: min(max(number, min(names)), max(names)) if clamp else number for number in {*numbers}}
        wanted = {number: names[other] for number, other in chosen.items() if other in names}
        stamps = {number: (self.path / name, self._files[name]) for number, name in wanted.items()}
        self._files = {}
        return Pictures(stamps)


class Pictures:
    """Pictures of a folder that must not change while they are read.

    Args:
        stamps: path and stamp of each, by number.
    """

    def __init__(self, stamps: Mapping[int, tuple[Path, Stamp]]) -> None:
        self._stamps = stamps

    def check(self, number: int) -> None:
        """Makes sure that what was read of a picture were the bytes that went into the digest.

        Raises:
            MediaError: it has changed since.
        """
        path, stamp = self._stamps[number]
        try:
            same = stamp_of(path) == stamp
        except OSError:
            same = False
        if not same:
            raise MediaError(CHANGING)


def ingested(path: Path, memory: DigestMemory) -> Unchanged:
    """A file or folder as it is now, whose digest is not known yet; `Unchanged.check` comes after reading it.

    Raises:
        MediaError: it is missing, empty, or cannot be read.
        OSError: it cannot be read to its end, or changes meanwhile.
    """
    if not path.is_dir():
        first_bytes(path)
    return Unchanged(path, memory.digest(path), memory)


def _seen(look: Callable[[], Seen]) -> Seen:
    try:
        return look()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaError("file not found") from error
    except PermissionError as error:
        raise MediaError("no permission to read") from error
    except OSError as error:
        reason = CHANGING if error.errno == errno.EBUSY else f"cannot be read ({error.strerror})"
        raise MediaError(reason) from error
