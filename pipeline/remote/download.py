"""Downloads of which no byte is taken on trust: sizes, versions and checksums must agree.

What fails on the way is tried again from the byte that was reached, unless the object has changed by then. A download
whose state is kept goes on in another process as well, from bytes that are known to be on the disk, so that neither a
kill nor a power cut leaves a hole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cache.digests import DIGEST_BYTES
from cache.durable import new_file
from cache.errors import UserError, writing
from pipeline.monitor.progress import Meter
from pipeline.monitor.signals import Stopped, check
from pipeline.monitor.threads import persist
from pipeline.remote import reading
from pipeline.remote.address import RemoteFile, is_http, scheme, shown
from pipeline.remote.faults import EXTRAS, CutError, Fault, fast_enough, fault_of
from pipeline.remote.reading import Found, RangeError, found_at, object_blocks, open_filesystem, web_answer

TRIES = 4
"""Attempts in a row that bring nothing; below them botocore and s3fs try a few times on their own."""

PAUSE_S = 1.0
DOWN_S = 30.0
"""How long a server counts as out of reach when nobody has answered there."""

SYNC_EVERY = 16 << 20
"""Bytes of a download whose state is kept, between two moments at which all of it is on the disk."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_down: dict[str, tuple[float, Fault]] = {}
_without_md5: set[str] = set()
"""Buckets whose 32-digit ETags have turned out to be something else: so it is with objects under a KMS key."""


class TransferError(Exception):
    """A file cannot be had now.

    Attributes:
        absent: the server answers, but has no such file.
    """

    def __init__(self, reason: str, absent: bool = False) -> None:
        super().__init__(reason)
        self.absent = absent


class TooLargeError(TransferError):
    """A file is larger than the bound.

    Attributes:
        size: bytes that it has at least.
    """

    def __init__(self, file: RemoteFile, size: int, most_bytes: int) -> None:
        super().__init__(f"has {size} bytes or more, and {most_bytes} are allowed: {file}")
        self.size = size


class OtherBytesError(TransferError):
    """A file has other bytes than it must have."""


@dataclass(frozen=True)
class Received:
    """A file that has come in whole.

    Attributes:
        found: what the server said of it.
        digest: of its bytes, as `DigestMemory.digest` has it.
    """

    found: Found
    digest: str


@dataclass(frozen=True)
class _State:
    """What is kept of an unfinished download.

    Attributes:
        identity: of the remote file, see there: a signature that has changed meanwhile plays no part.
        size: of the whole file in bytes, None if the server has not said.
        version: of the file.
        validator: by which a web server is asked to go on only if the file is still the same.
        synced: bytes that are certainly on the disk.
    """

    identity: str
    size: int | None
    version: str
    validator: str | None
    synced: int


def look_up(file: RemoteFile) -> Found:
    """Asks for size and version of a file.

    Raises:
        TransferError: it cannot be had.
    """
    return _persistently(file, lambda: found_at(*open_filesystem(file.url)), lambda: 0)


def fetch(url: str, folder: Path, label: str, refused: Callable[[Path], str | None] = lambda path: None) -> Path:
    """Downloads a file into a folder that is kept between attempts and runs.

    Args:
        url: of any kind that fsspec knows; redirections are followed.
        folder: of this download alone.
        label: name for the progress bar.
        refused: says of what has come whole why it is not the file, None if nothing is wrong with it.

    Returns:
        The complete file in the folder.

    Raises:
        TransferError: it cannot be had now; what has arrived is kept unless it is refused.
        UserError: it cannot be written.
    """
    part, state, file = folder / "part", folder / "state.json", RemoteFile(url, label)
    with writing(part):
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with Meter(label) as meter:
            Download(file, part, descriptor, state=state, progress=meter.at).run()
    finally:
        os.close(descriptor)
    if wrong := refused(part):
        state.unlink(missing_ok=True)
        raise TransferError(f"{shown(url)} gives {wrong}")
    return part


class Download:
    """One download into a local file that the caller has opened and lets nobody else write.

    Args:
        file: what is fetched; if it names a size or version, only a file that has those will do.
        path: of the local file.
        descriptor: of it, open for reading and writing.
        reserve: called with the size in bytes (0 if the server does not say) as soon as it is known, and again if all
            has to be begun anew.
        most_bytes: a larger file is refused, before it comes if the server says its size.
        digest: that the bytes must have; None if that is not known.
        state: file in which a later process finds how far this one came; None if nothing is to be kept.
        progress: called with the bytes that are there, and with those of the whole file or None.
    """

    def __init__(
        self,
        file: RemoteFile,
        path: Path,
        descriptor: int,
        *,
        reserve: Callable[[int], None] = lambda size: None,
        most_bytes: int | None = None,
        digest: str | None = None,
        state: Path | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> None:
        self._file, self._path, self._descriptor = file, path, descriptor
        self._reserve, self._most_bytes, self._expected = reserve, most_bytes, digest
        self._state, self._progress = state, progress
        self._has_md5 = EXTRAS.get(scheme(file.url)) == "s3"
        self._found: Found | None = None
        self._validator: str | None = None
        self._done = self._synced = 0
        self._furthest = 0  # a download that has to begin anew is not farther before it has passed this
        self._wrong_md5 = ""
        self._denied: tuple[Found, Found] | None = None
        self._begin_digests()

    def run(self) -> Received:
        """Fetches the file, which is whole and on the disk then.

        Raises:
            TransferError: it cannot be had, has changed since it was listed, is too large, or has other bytes than it
                must have.
            UserError: it cannot be written.
        """
        self._take_up()
        received = _persistently(self._file, self._attempt, lambda: self._furthest)
        if self._expected is not None and received.digest != self._expected:
            self._forget()
            raise OtherBytesError(f"{self._file} has other bytes")
        return received

    def _attempt(self) -> Received:
        system, path = open_filesystem(self._file.url)
        try:
            found = self._from_web(system, path) if is_http(self._file.url) else self._from_store(system, path)
        except RangeError:
            self._forget()
            raise
        if not self._done and self._state is not None:
            raise TransferError(f"{self._file} is empty")
        if self._done > reading.BLOCK:
            self._check_unchanged(found, found_at(system, path))
        self._check_md5(found)
        self._sync()
        return Received(found, self._digest.hexdigest())

    def _from_web(self, system: Any, path: str) -> Found:
        """One question to a web server, which goes on where the last answer ended or begins anew."""
        if self._found is not None and self._done and self._done == self._found.size:
            return self._found  # all of it had arrived when the process ended, or the last connection
        if not self._validator:
            self._done = 0
        with web_answer(system, path, self._done, self._validator) as answer:
            found = answer.found
            if answer.start and self._found is not None:
                if self._found.size not in (None, found.size):
                    raise RangeError("the server answers with another range than was asked for")
                self._found = found = Found(found.size, self._found.version)
            else:
                self._begin(found, answer.validator)
            self._receive(answer.blocks, found)
        return self._checked_length(found)

    def _from_store(self, system: Any, path: str) -> Found:
        """The rest of an object, if that is still the one of which a part has come; all of it otherwise."""
        found = found_at(system, path)
        if found != self._found:
            self._begin(found, None)
        if self._done != found.size:
            self._receive(object_blocks(system, path, found, self._done), found)
        return self._checked_length(found)

    def _begin(self, found: Found, validator: str | None) -> None:
        """Starts with the first byte of a file."""
        self._check_listed(found)
        self._check_size(found.size or 0)
        self._forget()
        self._found, self._validator = found, validator
        with writing(self._path):
            os.ftruncate(self._descriptor, 0)
        self._reserve(found.size or 0)

    def _receive(self, blocks: Iterable[bytes], found: Found) -> None:
        """Writes blocks from where the file ends."""
        self._progress(self._done, found.size)
        try:
            for block in fast_enough(blocks):
                check()
                self._check_size(self._done + len(block))
                self._write(block)
                self._update_digests(block)
                self._done += len(block)
                self._furthest = max(self._furthest, self._done)
                self._progress(self._done, found.size)
                if self._state is not None and self._done - self._synced >= SYNC_EVERY:
                    self._sync()
        finally:
            if self._state is not None:
                self._sync()

    def _write(self, block: bytes) -> None:
        with writing(self._path):
            written = 0
            while written < len(block):
                written += os.pwrite(self._descriptor, block[written:], self._done + written)

    def _checked_length(self, found: Found) -> Found:
        """What is known of a file of which all has come."""
        if found.size is not None and self._done != found.size:
            reason = f"cut after {self._done} of {found.size} bytes"
            if self._done > found.size:
                reason = f"more than the {found.size} bytes that were announced"
                self._forget()
            raise CutError(reason)
        if found.size is None:
            self._check_listed(Found(self._done, found.version))
            self._found = found = Found(self._done if self._state else self._file.size, found.version)
        return found

    def _check_size(self, size: int) -> None:
        if self._most_bytes is not None and size > self._most_bytes:
            raise TooLargeError(self._file, size, self._most_bytes)

    def _check_listed(self, found: Found) -> None:
        """The list is what a corpus is made of: another object behind the same URL must not slip in."""
        listed = self._file
        if listed.size not in (None, found.size) and found.size is not None:
            what = f"has {found.size} bytes, not {listed.size}"
        elif listed.version and found.version and listed.version != found.version:
            what = "has another ETag or date"
        else:
            return
        raise TransferError(f"changed since it was listed: {listed} {what}: run `hearonce list-media` again")

    def _check_unchanged(self, found: Found, now: Found) -> None:
        """After a long transfer; where a server describes a file otherwise than its answer, it does so twice."""
        sizes, versions = {found.size, now.size} - {None}, {found.version, now.version} - {""}
        if (len(sizes) < 2 and len(versions) < 2) or self._denied == (found, now):
            return
        self._denied = (found, now)
        self._forget()
        raise CutError("it keeps changing while it is fetched")

    def _check_md5(self, found: Found) -> None:
        """Compares with an S3 ETag that looks like an MD5; if it fails twice in the same way, the ETag is none."""
        bucket = self._file.url.split("/")[2]
        if not self._has_md5 or not _MD5.fullmatch(found.version) or bucket in _without_md5:
            return
        md5 = self._md5.hexdigest()
        if md5 == found.version:
            return
        if md5 == self._wrong_md5:
            _without_md5.add(bucket)
            return
        self._wrong_md5 = md5
        self._forget()
        raise CutError("its bytes are not those of its ETag")

    def _begin_digests(self) -> None:
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._md5 = hashlib.md5(usedforsecurity=False)

    def _update_digests(self, block: bytes) -> None:
        self._digest.update(block)
        if self._has_md5:
            self._md5.update(block)

    def _forget(self) -> None:
        """Nothing that has come is of use any more."""
        self._found, self._validator, self._done, self._synced = None, None, 0, 0
        self._begin_digests()
        if self._state is not None:
            self._state.unlink(missing_ok=True)

    def _sync(self) -> None:
        """Puts all that has come on the disk, and then says so."""
        with writing(self._path):
            os.ftruncate(self._descriptor, self._done)
            os.fsync(self._descriptor)
        self._synced = self._done
        if self._state is None or self._found is None:
            return
        state = _State(self._file.identity, self._found.size, self._found.version, self._validator, self._done)
        with new_file(self._state) as temporary:
            temporary.write_text(json.dumps(asdict(state)), encoding="utf-8")

    def _take_up(self) -> None:
        """Goes on with what an earlier process has left, if there is something that can be gone on with."""
        if self._state is None:
            return
        try:
            state = _State(**json.loads(self._state.read_text(encoding="utf-8")))
            if state.identity != self._file.identity or os.fstat(self._descriptor).st_size < state.synced:
                return
            for block in self._blocks_on_disk(state.synced):
                check()
                self._update_digests(block)
        except (OSError, ValueError, TypeError):
            self._begin_digests()
            return
        self._found, self._validator = Found(state.size, state.version), state.validator
        self._done = self._synced = self._furthest = state.synced

    def _blocks_on_disk(self, size: int) -> Iterator[bytes]:
        for start in range(0, size, reading.BLOCK):
            yield os.pread(self._descriptor, min(reading.BLOCK, size - start), start)


def _persistently(file: RemoteFile, attempt: Callable[[], Any], reached: Callable[[], int]) -> Any:
    """Tries; while nobody answers at all at a server, its other files fail at once, and not after minutes each."""
    server = "/".join(file.url.split("/")[:3])
    down = _down.get(server)
    if down is not None and time.monotonic() < down[0]:
        raise TransferError(down[1].reason(file.url))

    def hopeless(error: Exception) -> bool:
        return isinstance(error, UserError | TransferError) or fault_of(error, file.url).hopeless

    try:
        return persist(
            attempt, reached, hopeless, TRIES, PAUSE_S, asked_s=lambda error: fault_of(error, file.url).wait_s
        )
    except (UserError, TransferError, Stopped):
        raise
    except Exception as error:  # whatever library lies below fsspec
        fault = fault_of(error, file.url)
        if fault.for_all:
            _down[server] = time.monotonic() + DOWN_S, fault
        raise TransferError(fault.reason(file.url), fault.absent) from None
