"""A bounded place on this machine for remote media, shared by all threads and processes that read them.

A staged file is named by the digest of its bytes. Who reads one holds a shared lock on it; who needs room takes the
exclusive lock of the file that was used longest ago, and removes it. Locks end with the process that holds them, so a
killed reader or download leaves nothing behind that another does not clear away.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cache.digests import DigestMemory
from cache.errors import UserError, writing
from cache.location import Store
from pipeline.media.errors import MediaError
from pipeline.remote.address import RemoteFile
from pipeline.remote.transfer import Download, look_up

FOLDER_VARIABLE, SIZE_VARIABLE = "HEARONCE_STAGING", "HEARONCE_STAGING_GB"
DEFAULT_GB = 20.0
POLL_S = 0.05
_UNFINISHED = ".part"
_TURN = "turn.lock"


@dataclass(frozen=True)
class Staged:
    """A file that stays where it is as long as it is held.

    Attributes:
        path: of its local copy.
        digest: of its bytes.
    """

    path: Path
    digest: str


class Staging:
    """The staged files of one folder, which should lie on a disk of this machine.

    Args:
        folder: made if it is not there.
        most_bytes: that all files in it may have together.
        memory: remembers digests by URL, size and version, so that no object is fetched again only to know its digest.
    """

    def __init__(self, folder: Path, most_bytes: int, memory: DigestMemory | None = None) -> None:
        self.folder, self.most_bytes, self._memory = folder, most_bytes, memory
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def default(cls, memory: DigestMemory | None = None) -> Staging:
        """`staging` in this machine's store and 20 GB, or what the environment says instead.

        Raises:
            UserError: the environment says no number.
        """
        given = os.environ.get(SIZE_VARIABLE) or str(DEFAULT_GB)
        try:
            gigabytes = float(given)
        except ValueError:
            gigabytes = 0.0
        if not 0 < gigabytes < float("inf"):
            raise UserError(f"{SIZE_VARIABLE} is {given!r}: give the gigabytes that staged media may take, such as 20.")
        named = os.environ.get(FOLDER_VARIABLE)
        return cls(Path(named) if named else Store.default().staging, int(gigabytes * 1e9), memory)

    @contextmanager
    def held(self, file: RemoteFile, digest: str | None = None) -> Iterator[Staged]:
        """Yields the local copy of a file, fetched unless it is there; it is not removed within the block.

        A thread holds one file at a time, or two could wait for each other's room for ever.

        Args:
            file: the remote file.
            digest: of the bytes that it must have; None if that is not known yet.

        Raises:
            MediaError: it cannot be had, has other bytes, or is larger than the bound.
            UserError: it cannot be written.
        """
        descriptor, staged = self._obtain(file, digest)
        try:
            yield staged
        finally:
            os.close(descriptor)

    def _obtain(self, file: RemoteFile, digest: str | None) -> tuple[int, Staged]:
        """A descriptor that holds the shared lock, and what it holds."""
        part = self.folder / f".{file.identity}{_UNFINISHED}"
        while True:
            known = digest or self._remembered(file)
            if known:
                path = self._path(known, file)
                descriptor = _locked(path, fcntl.LOCK_SH)
                if descriptor is not None:
                    os.utime(path)
                    return descriptor, Staged(path, known)
            descriptor = self._begun(part)
            if descriptor is None:
                continue  # another has just finished it, or given up
            try:
                known = digest or self._remembered(file)
                if not (known and self._path(known, file).exists()):
                    known = self._fetch(file, digest, part, descriptor)
                    path = self._path(known, file)
                    with writing(path):
                        os.replace(part, path)
                    fcntl.flock(descriptor, fcntl.LOCK_SH)  # from now on others may read it, too
                    if _is_at(descriptor, path):
                        return descriptor, Staged(path, known)
            except BaseException:
                part.unlink(missing_ok=True)
                os.close(descriptor)
                raise
            part.unlink(missing_ok=True)  # it is there already, or was removed at once: look again
            os.close(descriptor)

    def _begun(self, part: Path) -> int | None:
        """The exclusive lock of a new download; None after another's has ended."""
        with writing(part):
            try:
                return _locked(part, fcntl.LOCK_EX | fcntl.LOCK_NB, os.O_RDWR | os.O_CREAT)
            except BlockingIOError:
                pass
        ended = _locked(part, fcntl.LOCK_SH)  # he who has fetched it keeps a shared lock while he reads it
        if ended is not None:
            os.close(ended)
        return None

    def _path(self, digest: str, file: RemoteFile) -> Path:
        """Readers of media look at the ending as well, so the copy has that of the file."""
        ending = PurePosixPath(file.name).suffix.lower()
        return self.folder / (digest + (ending if re.fullmatch(r"\.[a-z0-9]{1,8}", ending) else ""))

    def _remembered(self, file: RemoteFile) -> str | None:
        if self._memory is None or not file.version:
            return None
        return self._memory.recall(file.identity, file.size, file.version)

    def _fetch(self, file: RemoteFile, digest: str | None, part: Path, descriptor: int) -> str:
        """Downloads into a file that is held exclusively; the digest of what has come."""
        position = 0

        def begin(size: int | None) -> None:
            nonlocal position
            position = 0
            if size is not None and size > self.most_bytes:
                raise MediaError(_too_large(size, self.most_bytes))
            self._make_room(size or 0, part, descriptor)

        def take(block: bytes) -> None:
            nonlocal position
            with writing(part):
                written = 0
                while written < len(block):
                    written += os.pwrite(descriptor, block[written:], position + written)
            position += len(block)
            if position > self.most_bytes:
                raise MediaError(_too_large(position, self.most_bytes))

        received = Download(file, begin, take).run()
        with writing(part):
            os.ftruncate(descriptor, position)
            os.fsync(descriptor)
        if self._memory is not None and received.found.version:
            self._memory.remember(file.identity, received.found.size, received.found.version, received.digest)
        if digest is not None and received.digest != digest:
            raise MediaError(f"changed since it was ingested: {file} has other bytes: ingest the corpus again")
        return received.digest

    def _make_room(self, size: int, part: Path, descriptor: int) -> None:
        """Waits until a file of this size fits, and takes the room. One at a time, so that none waits for ever."""
        with writing(self.folder / _TURN):
            turn = os.open(self.folder / _TURN, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            while True:
                others = [one for one in self._files() if one[0] != part]
                used = sum(bytes for _, bytes, _ in others)
                for path, bytes, _ in sorted(others, key=lambda one: (one[0].suffix != _UNFINISHED, one[2])):
                    # What a dead download has left goes first, then what was used longest ago.
                    abandoned = path.suffix == _UNFINISHED and _removed_unless_held(path)
                    if abandoned or (used + size > self.most_bytes and _removed_unless_held(path)):
                        used -= bytes
                if used + size <= self.most_bytes and self._reserved(size, part, descriptor):
                    return
                time.sleep(POLL_S)
        finally:
            os.close(turn)

    def _reserved(self, size: int, part: Path, descriptor: int) -> bool:
        """Takes the room on the disk; if the disk is full, one staged file gives way (False: try again)."""
        with writing(part):
            os.ftruncate(descriptor, 0)
            try:
                if size:
                    os.posix_fallocate(descriptor, 0, size)
            except (OSError, AttributeError) as error:
                if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    os.ftruncate(descriptor, size)  # this system cannot reserve, but count
                    return True
                oldest_first = sorted((one for one in self._files() if one[0] != part), key=lambda one: one[2])
                if not any(_removed_unless_held(path) for path, _, _ in oldest_first):
                    raise
                return False
        return True

    def _files(self) -> list[tuple[Path, int, int]]:
        """Path, bytes and time of the last use of all files, unfinished ones included."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    if entry.name != _TURN and entry.is_file():
                        found.append((Path(entry.path), status.st_size, status.st_mtime_ns))
        return found


def resolved(file: RemoteFile) -> RemoteFile:
    """The same file with size and version, for which its server is asked if they are not known.

    Raises:
        MediaError: it cannot be had.
    """
    if file.version and file.size is not None:
        return file
    found = look_up(file)
    return RemoteFile(file.url, file.name, found.size, found.version)


def _too_large(size: int, most: int) -> str:
    allowed = f"staged media may take {most / 1e9:.3g} GB together"
    return f"has {size / 1e9:.3g} GB or more, and {allowed}: raise {SIZE_VARIABLE}"


def _locked(path: Path, kind: int, flags: int = os.O_RDONLY) -> int | None:
    """A descriptor with the lock of the file that is at this path now; None if there is none any more."""
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, kind)
        if _is_at(descriptor, path):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _removed_unless_held(path: Path) -> bool:
    """Removes a file that nobody reads or writes."""
    try:
        descriptor = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held
        return False
    if descriptor is None:
        return True
    path.unlink(missing_ok=True)
    os.close(descriptor)
    return True
