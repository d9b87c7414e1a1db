"""Remote files as fsspec reads them: what a server says of one, and its bytes."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cache.errors import UserError
from pipeline.console.text import did_you_mean
from pipeline.media.containers import MediaError
from pipeline.monitor import signals
from pipeline.remote.address import allowed_by, check_address, check_host, is_http, scheme
from pipeline.remote.faults import ANSWER_S, CutError, TooSlow, least_rate, missing_package, patience_s

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

BLOCK = 16 << 20
FIRST_BLOCK = 1 << 20
"""Of an object store, and the next ones while it is slow: how slow, only a whole block tells."""

FAST_S = 4.0
"""A store that takes no longer for the first block is asked for large ones."""

_STREAM_BLOCK = 1 << 20
_SECONDS = {"sock_connect": 30.0, "sock_read": 60.0}
_VERSIONS = ("ETag", "etag", "generation", "LastModified", "Last-Modified", "mtime", "modify", "updated", "created")


@dataclass(frozen=True)
class Found:
    """What a server says of a file: see `RemoteFile`."""

    size: int | None
    version: str


def open_filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of a URL, with the options of fsspec's own configuration, and the path in it.

    Raises:
        ImportError: the package that it needs is not installed.
        ValueError: there is no such kind of URL.
    """
    from fsspec import get_filesystem_class
    from fsspec.config import conf  # type: ignore[import-untyped]
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    options: dict[str, Any] = {"use_listings_cache": False}
    if getattr(get_filesystem_class(scheme(url)), "async_impl", False):
        options["loop"] = _loop(os.getpid())
    if is_http(url):
        from aiohttp import ClientTimeout

        client = {"timeout": ClientTimeout(total=None, **_SECONDS), "trust_env": True}
        options["client_kwargs"] = client | conf.get(scheme(url), {}).get("client_kwargs", {})
        options["get_client"] = _client_maker(allowed_by(urlsplit(url).hostname or ""))
        options["encoded"] = url.isascii() and " " not in url  # a signature is of the very letters of its URL
    return url_to_fs(url, **options)


@functools.cache
def _client_maker(allowed: frozenset[str]) -> Callable[..., Awaitable[ClientSession]]:
    """Makes sessions that go nowhere inside this network but to addresses of kinds that are allowed: see `inside`."""
    import aiohttp

    async def guarded(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        host = request.url.host
        await asyncio.get_running_loop().run_in_executor(None, check_host, host, allowed)
        async with asyncio.timeout(ANSWER_S):
            return await handler(request)

    def connected(found: Any) -> socket.socket:
        check_address(str(found[4][0]), allowed)
        return socket.socket(found[0], found[1], found[2])

    async def make(**options: Any) -> ClientSession:
        options.setdefault("connector", aiohttp.TCPConnector(socket_factory=connected))
        return aiohttp.ClientSession(middlewares=(guarded,), **options)

    return make


@functools.cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """What carries the transfers of a process, in a thread of its own; they are cut short when the run is to end.

    Not fsspec's own, by which rows may be on their way to a store.
    """
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # whoever waits for a transfer is told; others would see a traceback
    threading.Thread(target=loop.run_forever, name="transfers", daemon=True).start()

    def give_up() -> None:
        loop.call_soon_threadsafe(_cancel_all, loop)

    signals.give_up.append(give_up)
    return loop


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


def check_kinds(kinds: dict[str, str], where: Path | str) -> None:
    """Makes sure that fsspec, and the package below it, are here for some kinds of URLs.

    Args:
        kinds: a URL of each kind, by its scheme.
        where: what names them.

    Raises:
        UserError: it is not; says what to install or what was meant.
    """
    from fsspec import available_protocols, get_filesystem_class  # type: ignore[import-untyped]

    for kind, url in kinds.items():
        try:
            get_filesystem_class(kind)
        except ImportError as error:
            raise UserError(f"{where}: {missing_package(url, error)}.") from None
        except ValueError:
            raise UserError(f"{where}: no kind of URL {kind!r}, {did_you_mean(kind, available_protocols())}") from None


def version_of(info: dict[str, Any]) -> str:
    """ETag, or else time of the last change, by the details of an fsspec file system; empty if there is none."""
    value = next((info[name] for name in _VERSIONS if info.get(name)), "")
    return str(value.isoformat() if hasattr(value, "isoformat") else value).removeprefix("W/").strip('"')


def size_of(info: dict[str, Any]) -> int | None:
    """Bytes of a file, by the details of an fsspec file system."""
    return None if info.get("size") is None else int(info["size"])


def found_at(system: AbstractFileSystem, path: str) -> Found:
    """What a server says of a file.

    Raises:
        Exception: of whatever library lies below fsspec.
    """
    info = system.info(path, **_within(ANSWER_S, system))
    if info.get("type") == "directory":
        raise FileNotFoundError(path)
    return Found(size_of(info), version_of(info))


def blocks(system: AbstractFileSystem, path: str, found: Found, start: int) -> Iterator[bytes]:
    """The bytes of a file from `start` on; a web server is asked once, an object store block by block."""
    if is_http(path):
        yield from _streamed(system, path, found, start)
    elif found.size is None:
        raise MediaError("the place does not say how long the file is, so that a cut could not be noticed")
    else:
        first, size = start, min(FIRST_BLOCK, BLOCK)
        while first < found.size:
            last, begun = min(first + size, found.size), time.monotonic()
            try:
                block = system.cat_file(path, start=first, end=last, **_within(patience_s(size), system))
            except TimeoutError as error:
                raise TooSlow(least_rate()) from error
            yield block[: last - first]
            if len(block) != last - first:
                raise CutError(f"cut after {first + len(block)} of {found.size} bytes")
            fast = time.monotonic() - begun < FAST_S * size / FIRST_BLOCK
            first, size = last, BLOCK if fast else min(FIRST_BLOCK, BLOCK)


def _within(seconds: float | None, system: AbstractFileSystem) -> dict[str, float]:
    """Options that bound how long a call of a file system may take, where it knows of such."""
    return {"timeout": seconds} if seconds and getattr(system, "async_impl", False) else {}


def _streamed(system: AbstractFileSystem, path: str, found: Found, start: int) -> Iterator[bytes]:
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with system.open(path, "rb", block_size=0, size=found.size or -1, headers=headers) as stream:
        answer = stream.r
        answer.raise_for_status()
        if answer.status not in (200, 206):
            raise CutError(f"the server answers with status {answer.status}, not with the file")
        version = version_of({name: answer.headers.get(name) for name in ("ETag", "Last-Modified")})
        if version and found.version and version != found.version:
            raise CutError("it keeps changing while it is fetched")
        resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if answer.status == 206 and not resumed:
            raise CutError("the server answers with another range than was asked for")
        to_skip = 0 if resumed else start  # where a server knows no ranges, what has come before is passed over
        while block := stream.read(_STREAM_BLOCK):
            skipped = min(to_skip, len(block))
            to_skip -= skipped
            if len(block) > skipped:
                yield block[skipped:]
