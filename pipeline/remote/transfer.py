"""Downloads through fsspec, of which no byte is taken on trust: sizes, versions and checksums must agree.

What fails on the way is tried again from the byte that was reached, unless the object has changed by then.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.digests import DIGEST_BYTES
from cache.errors import UserError
from pipeline.media.errors import MediaError
from pipeline.remote.address import RemoteFile, is_http, scheme
from pipeline.remote.faults import EXTRAS, CutError, Fault, fault_of
from pipeline.retrying import persist

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

TRIES = 4
"""Attempts in a row that bring nothing; below them botocore and s3fs try a few times on their own."""

PAUSE_S = 1.0
BLOCK = 16 << 20
_STREAM_BLOCK = 1 << 20
_SECONDS = {"sock_connect": 30.0, "sock_read": 60.0}
_MD5 = re.compile(r"[0-9a-f]{32}")
_VERSIONS = ("ETag", "etag", "generation", "LastModified", "Last-Modified", "mtime", "modify", "updated", "created")

DOWN_S = 30.0
"""How long a place counts as out of reach when nobody has answered there."""

_down: dict[str, tuple[float, Fault]] = {}
_without_md5: set[str] = set()
"""Buckets whose 32-digit ETags have turned out to be something else: so it is with objects under a KMS key."""


@dataclass(frozen=True)
class Found:
    """What a server says of a file: see `RemoteFile`."""

    size: int | None
    version: str


@dataclass(frozen=True)
class Received:
    """A file that has come in whole.

    Attributes:
        found: what the server said of it.
        digest: of its bytes, as `DigestMemory.digest` has it.
    """

    found: Found
    digest: str


def open_filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of a URL, with the options of fsspec's own configuration, and the path in it.

    Raises:
        ImportError: the package that it needs is not installed.
        ValueError: there is no such kind of URL.
    """
    from fsspec.config import conf  # type: ignore[import-untyped]
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    options: dict[str, Any] = {"use_listings_cache": False}
    if is_http(url):
        from aiohttp import ClientTimeout

        client = {"timeout": ClientTimeout(total=None, **_SECONDS), "trust_env": True}
        options["client_kwargs"] = client | conf.get(scheme(url), {}).get("client_kwargs", {})
        options["encoded"] = url.isascii() and " " not in url  # a signature is of the very letters of its URL
    return url_to_fs(url, **options)


def look_up(file: RemoteFile) -> Found:
    """Asks for size and version of a file.

    Raises:
        MediaError: it cannot be had.
    """
    return _persistently(file, lambda: _found(*open_filesystem(file.url)), lambda: 0)


def version_of(info: dict[str, Any]) -> str:
    """ETag, or else time of the last change, by the details of an fsspec file system; empty if there is none."""
    value = next((info[name] for name in _VERSIONS if info.get(name)), "")
    return str(value.isoformat() if hasattr(value, "isoformat") else value).removeprefix("W/").strip('"')


def size_of(info: dict[str, Any]) -> int | None:
    """Bytes of a file, by the details of an fsspec file system."""
    return None if info.get("size") is None else int(info["size"])


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
        found = _found(system, path)
        if found != self._found:
            self._check_listed(found)
            self._restart(found)
        rest = _blocks(system, path, found, self._done) if self._done != found.size else ()
        for block in rest:
            self._done += len(block)
            self._furthest = max(self._furthest, self._done)
            self._digest.update(block)
            self._md5.update(block)
            self._take(block)
        if found.size is not None and self._done != found.size:
            reason = f"cut after {self._done} of {found.size} bytes"
            if self._done > found.size:
                reason = f"more than the {found.size} bytes that were announced"
                self._restart(None)
            raise CutError(reason)
        if self._done > BLOCK and _found(system, path) != found:
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
    except (UserError, MediaError):
        raise
    except Exception as error:  # whatever library lies below fsspec
        fault = fault_of(error, file.url)
        if fault.for_all:
            _down[place] = time.monotonic() + DOWN_S, fault
        raise MediaError(fault.reason(file.url)) from None


def _found(system: AbstractFileSystem, path: str) -> Found:
    info = system.info(path)
    if info.get("type") == "directory":
        raise FileNotFoundError(path)
    return Found(size_of(info), version_of(info))


def _blocks(system: AbstractFileSystem, path: str, found: Found, start: int) -> Iterator[bytes]:
    """The bytes of a file from `start` on; a web server is asked once, an object store block by block."""
    if is_http(path):
        yield from _streamed(system, path, found, start)
    elif found.size is None:
        raise MediaError("the place does not say how long the file is, so that a cut could not be noticed")
    else:
        for first in range(start, found.size, BLOCK):
            last = min(first + BLOCK, found.size)
            block = system.cat_file(path, start=first, end=last)
            yield block[: last - first]
            if len(block) != last - first:
                raise CutError(f"cut after {first + len(block)} of {found.size} bytes")


def _streamed(system: AbstractFileSystem, path: str, found: Found, start: int) -> Iterator[bytes]:
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with system.open(path, "rb", block_size=0, size=found.size or -1, headers=headers) as stream:
        answer = stream.r
        answer.raise_for_status()
        version = version_of({name: answer.headers.get(name) for name in ("ETag", "Last-Modified")})
        if version and found.version and version != found.version:
            raise CutError("it keeps changing while it is fetched")
        resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        to_skip = 0 if resumed else start  # where a server knows no ranges, what has come before is passed over
        while block := stream.read(_STREAM_BLOCK):
            skipped = min(to_skip, len(block))
            to_skip -= skipped
            if len(block) > skipped:
                yield block[skipped:]
