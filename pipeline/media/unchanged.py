"""Local media that must not change while they are read: what is stored under a digest comes from those very bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cache.digests import DigestMemory, FileState, Stamp, own_stamp, stamp_of, stamps_in
from cache.location import Store
from pipeline.media.containers import MediaError
from pipeline.media.numbered_frames import IMAGE_NAME
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
        digest: of its bytes; None for those that it has now.
        memory: of digests.

    Attributes:
        path: the same.
        digest: of its bytes.

    Raises:
        MediaError: it is missing, cannot be read, or has other bytes.
    """

    def __init__(self, path: Path, digest: str | None, memory: DigestMemory) -> None:
        self.path, self._memory = path, memory
        self._files: dict[str, Stamp] = {}
        seen = _seen(self._look)
        if digest not in (None, seen.digest):
            raise MediaError(CHANGED)
        self.digest, self._stamp = seen.digest, self._folder or seen.stamp

    def _look(self) -> FileState:
        self._folder = own_stamp(self.path) if self.path.is_dir() else None
        if self._folder is None:
            return self._memory.examine(self.path)
        stamp, self._files = stamps_in(self.path)
        return self._memory.examine(self.path, stamp)

    def check(self) -> None:
        """Makes sure that all that was read so far were the bytes of the digest.

        Of a folder only that it has the same files: what is in them is checked one by one, see `folder_frames`.

        Raises:
            MediaError: it has changed since.
        """
        try:
            same = (stamp_of(self.path) if self._folder is None else own_stamp(self.path)) == self._stamp
        except OSError:
            same = False
        if not same:
            raise MediaError(CHANGING)

    def folder_frames(self, numbers: Iterable[int], clamp: bool) -> FolderFrames | None:
        """Watches images of a folder one by one, which costs a `stat` of each; None if the medium is no folder.

        Args:
            numbers: of the images that will be read.
            clamp: a number before the first image stands for the first, one after the last for the last.
        """
        if not self._files:
            return None
        names = {int(match[1]): name for name in self._files if (match := IMAGE_NAME.fullmatch(name))}
        if not names:
            return None
        chosen = {number: min(max(number, min(names)), max(names)) if clamp else number for number in {*numbers}}
        wanted = {number: names[other] for number, other in chosen.items() if other in names}
        stamps = {number: (self.path / name, self._files[name]) for number, name in wanted.items()}
        self._files = {}
        return FolderFrames(stamps)


class FolderFrames:
    """Images of a folder that must not change while they are read.

    Args:
        stamps: path and stamp of each, by number.
    """

    def __init__(self, stamps: Mapping[int, tuple[Path, Stamp]]) -> None:
        self._stamps = stamps

    def check(self, number: int) -> None:
        """Makes sure that what was read of an image were the bytes that went into the digest.

        Raises:
            MediaError: it has changed since.
        """
        path, stamp = self._stamps.get(number, (None, None))  # it may not have been there
        try:
            same = path is not None and stamp_of(path) == stamp
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
    return Unchanged(path, None, memory)


def _seen(look: Callable[[], FileState]) -> FileState:
    try:
        return look()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaError("file not found") from error
    except PermissionError as error:
        raise MediaError("no permission to read") from error
    except OSError as error:
        reason = CHANGING if error.errno == errno.EBUSY else f"cannot be read ({error.strerror})"
        raise MediaError(reason) from error
