"""A bounded place on this machine for remote media, shared by all threads and processes that read them.

A staged file is named by the digest of its bytes. Who reads one holds a shared lock on it; who needs room takes the
exclusive lock of the file that was used longest ago, and removes it. Locks end with the process that holds them, so a
killed reader or download leaves nothing behind that another does not clear away.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cache.digests import DigestMemory
from cache.errors import UserError, writing
from cache.location import Store
from pipeline.media.containers import MediaError
from pipeline.monitor.progress import progress
from pipeline.monitor.threads import each_in_threads
from pipeline.remote.address import RemoteFile, is_http, shown
from pipeline.remote.bounded_folder import AT_ONCE, EXCLUSIVE, SHARED, UNFINISHED, Room, discard, is_at, locked, share
from pipeline.remote.download import Download, OtherBytesError, TooLargeError, TransferError, look_up
from pipeline.remote.faults import fault_of
from pipeline.remote.reading import open_filesystem, size_of, version_of

FOLDER_VARIABLE, SIZE_VARIABLE = "HEARONCE_STAGING", "HEARONCE_STAGING_GB"
DEFAULT_GB = 20.0


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
        self.room, self._memory = Room(folder, most_bytes), memory
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
        part = self.room.folder / f".{file.identity}{UNFINISHED}"
        while True:
            known = digest or self._remembered(file)
            if known:
                path = self._path(known, file)
                descriptor = locked(path, SHARED)
                if descriptor is not None:
                    with suppress(OSError):  # it is another user's
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
                    share(descriptor)
                    if is_at(descriptor, path):
                        return descriptor, Staged(path, known)
            except BaseException:
                discard(descriptor, part)
                raise
            discard(descriptor, part)  # it is there already, or was removed at once: look again

    def _begun(self, part: Path) -> int | None:
        """The exclusive lock of a new download; None after another's has ended."""
        with writing(part):
            try:
                return locked(part, EXCLUSIVE | AT_ONCE, os.O_RDWR | os.O_CREAT)
            except BlockingIOError:
                pass
        ended = locked(part, SHARED)  # he who has fetched it keeps a shared lock while he reads it
        if ended is not None:
            os.close(ended)
        return None

    def _path(self, digest: str, file: RemoteFile) -> Path:
        """Readers of media look at the ending as well, so the copy has that of the file."""
        ending = PurePosixPath(file.name).suffix.lower()
        return self.room.folder / (digest + (ending if re.fullmatch(r"\.[a-z0-9]{1,8}", ending) else ""))

    def _remembered(self, file: RemoteFile) -> str | None:
        if self._memory is None or not file.version:
            return None
        return self._memory.recall(file.identity, file.size, file.version)

    def _fetch(self, file: RemoteFile, digest: str | None, part: Path, descriptor: int) -> str:
        """Downloads into a file that is held exclusively; the digest of what has come."""
        most = self.room.most_bytes
        download = Download(
            file,
            part,
            descriptor,
            reserve=lambda size: self.room.take(size, part, descriptor),
            most_bytes=most,
            digest=digest,
        )
        try:
            received = download.run()
        except TooLargeError as error:
            allowed = f"staged media may take {most / 1e9:.3g} GB together"
            raise MediaError(f"has {error.size / 1e9:.3g} GB or more, and {allowed}: raise {SIZE_VARIABLE}") from None
        except OtherBytesError as error:
            raise MediaError(f"changed since it was ingested: {error}: ingest the corpus again") from None
        except TransferError as error:
            raise MediaError(str(error)) from None
        if self._memory is not None and received.found.version:
            self._memory.remember(file.identity, received.found.size, received.found.version, received.digest)
        return received.digest


def resolved(file: RemoteFile) -> RemoteFile:
    """The same file with size and version, for which its server is asked if they are not known.

    Raises:
        MediaError: it cannot be had.
    """
    if file.version and file.size is not None:
        return file
    try:
        found = look_up(file)
    except TransferError as error:
        raise MediaError(str(error)) from None
    return RemoteFile(file.url, file.name, found.size, found.version)


ASKING = 32
"""Questions to servers at the same time."""


def find_media(url: str, suffixes: Collection[str]) -> list[RemoteFile]:
    """The files below an address that end like media, by their paths below it; hidden ones are left out.

    Args:
        url: `s3://bucket/prefix`, `gs://...`, or whatever else fsspec can list.
        suffixes: endings of media, in small letters.

    Raises:
        UserError: it cannot be listed.
    """
    if is_http(url):
        raise UserError(
            f"{shown(url)}: a web server does not say what it has: write the URLs into a text file, one a line, and "
            "give that file instead."
        )
    try:
        system, root = open_filesystem(url)
        details = system.find(root, detail=True)
    except Exception as error:  # whatever library lies below fsspec
        raise UserError(f"{fault_of(error, url).reason(url)}.") from None
    found = []
    for path, info in sorted(details.items()):
        name = PurePosixPath(path).name if path == root else path.removeprefix(root).lstrip("/")
        hidden = any(part.startswith(".") for part in name.split("/"))
        if PurePosixPath(name).suffix.lower() in suffixes and not hidden:
            found.append(RemoteFile(system.unstrip_protocol(path), name, size_of(info), version_of(info)))
    return found


def ask_each(files: Sequence[RemoteFile], label: str) -> tuple[list[RemoteFile], list[tuple[str, str]]]:
    """Asks the servers of some files for size and version.

    Returns:
        (the files with what was answered, (name, reason) of those that cannot be had now).
    """
    answered, faults = [], []

    def ask(file: RemoteFile) -> RemoteFile | str:
        try:
            return resolved(RemoteFile(file.url, file.name))
        except MediaError as error:
            return str(error)

    with progress(label, len(files), "media") as advance, each_in_threads(ask, files, ASKING) as answers:
        for file, answer in zip(files, answers, strict=True):
            if isinstance(answer, str):
                faults.append((file.name, answer))
                answer = RemoteFile(file.url, file.name)
            answered.append(answer)
            advance()
    return answered, faults
