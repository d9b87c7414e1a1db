"""Downloads of which no byte is taken on trust: sizes, versions and checksums must agree.

What fails on the way is tried again from the byte that was reached, unless the object has changed by then.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cache.digests import DIGEST_BYTES
from cache.errors import UserError
from pipeline.media.containers import MediaError
from pipeline.monitor.signals import Stopped, check
from pipeline.monitor.threads import persist
from pipeline.remote import reading
from pipeline.remote.address import RemoteFile, scheme
from pipeline.remote.faults import EXTRAS, CutError, Fault, fast_enough, fault_of
from pipeline.remote.reading import Found, blocks, found_at, open_filesystem

TRIES = 4
"""Attempts in a row that bring nothing; below them botocore and s3fs try a few times on their own."""

PAUSE_S = 1.0
DOWN_S = 30.0
"""How long a place counts as out of reach when nobody has answered there."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_down: dict[str, tuple[float, Fault]] = {}
_without_md5: set[str] = set()
"""Buckets whose 32-digit ETags have turned out to be something else: so it is with objects under a KMS key."""


@dataclass(frozen=True)
class Received:
    """A file that has come in whole.

    Attributes:
        found: what the server said of it.
        digest: of its bytes, as `DigestMemory.digest` has it.
    """

    found: Found
    digest: str


def look_up(file: RemoteFile) -> Found:
    """Asks for size and version of a file.

    Raises:
        MediaError: it cannot be had.
    """
    return _persistently(file, lambda: found_at(*open_filesystem(file.url)), lambda: 0)


class Download:
    """One download.

    Args:
        file: what is fetched; if it names a size or version, only a file that has those will do.
        begin: called with the size as soon as it is known (None if the server does not say), and again if all has to
            be begun anew.
        take: called with one block of bytes after the other.
    """

    def __init__(self, file: RemoteFile, begin: Callable[[int | None], None], take: Callable[[bytes], None]) -> None:
        self._file, self._begin, self._take = file, begin, take
        self._found: Found | None = None
        self._done = 0
        self._furthest = 0  # a download that has to begin anew is not farther before it has passed this
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._wrong_md5 = ""

    def run(self) -> Received:
        """Fetches the file.

        Raises:
            MediaError: it cannot be had, or has changed since it was listed.
            UserError: it cannot be written.
        """
        return _persistently(self._file, self._attempt, lambda: self._furthest)

    def _attempt(self) -> Received:
        system, path = open_filesystem(self._file.url)
        found = found_at(system, path)
        if found != self._found:
            self._check_listed(found)
            self._restart(found)
        rest = blocks(system, path, found, self._done) if self._done != found.size else ()
        for block in fast_enough(rest):
            check()
            self._take(block)
            self._digest.update(block)
            self._md5.update(block)
            self._done += len(block)
            self._furthest = max(self._furthest, self._done)
        if found.size is not None and self._done != found.size:
            reason = f"cut after {self._done} of {found.size} bytes"
            if self._done > found.size:
                reason = f"more than the {found.size} bytes that were announced"
                self._restart(None)
            raise CutError(reason)
        if self._done > reading.BLOCK and found_at(system, path) != found:
            self._restart(None)
            raise CutError("it keeps changing while it is fetched")
        self._check_md5(found)
        return Received(found, self._digest.hexdigest())

    def _restart(self, found: Found | None) -> None:
        self._found, self._done = found, 0
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._md5 = hashlib.md5(usedforsecurity=False)
        if found is not None:
            self._begin(found.size)

    def _check_listed(self, found: Found) -> None:
        """The list is what a corpus is made of: another object behind the same URL must not slip in."""
        listed = self._file
        if listed.size not in (None, found.size) and found.size is not None:
            what = f"has {found.size} bytes, not {listed.size}"
        elif listed.version and found.version and listed.version != found.version:
            what = "has another ETag or date"
        else:
            return
        raise MediaError(f"changed since it was listed: {listed} {what}: run `hearonce list-media` again")

    def _check_md5(self, found: Found) -> None:
        """Compares with an S3 ETag that looks like an MD5; if it fails twice in the same way, the ETag is none."""
        bucket = self._file.url.split("/")[2]
        if EXTRAS.get(scheme(self._file.url)) != "s3" or not _MD5.fullmatch(found.version) or bucket in _without_md5:
            return
        md5 = self._md5.hexdigest()
        if md5 == found.version:
            return
        if md5 == self._wrong_md5:
            _without_md5.add(bucket)
            return
        self._wrong_md5 = md5
        self._restart(None)
        raise CutError("its bytes are not those of its ETag")


def _persistently(file: RemoteFile, attempt: Callable[[], Any], reached: Callable[[], int]) -> Any:
    """Tries; while nobody answers at all at a place, the other files there fail at once, and not after minutes each."""
    place = "/".join(file.url.split("/")[:3])
    down = _down.get(place)
    if down is not None and time.monotonic() < down[0]:
        raise MediaError(down[1].reason(file.url))

    def hopeless(error: Exception) -> bool:
        return isinstance(error, UserError | MediaError) or fault_of(error, file.url).hopeless

    try:
        return persist(attempt, reached, hopeless, TRIES, PAUSE_S)
    except (UserError, MediaError, Stopped):
        raise
    except Exception as error:  # whatever library lies below fsspec
        fault = fault_of(error, file.url)
        if fault.for_all:
            _down[place] = time.monotonic() + DOWN_S, fault
        raise MediaError(fault.reason(file.url)) from None
