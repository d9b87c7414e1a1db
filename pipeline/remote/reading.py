"""Remote files as fsspec reads them: what a server says of one, and its bytes."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cache.errors import UserError
from pipeline.console.text import did_you_mean
from pipeline.monitor import signals
from pipeline.remote.address import allowed_by, check_address, check_host, is_http, scheme
from pipeline.remote.faults import ANSWER_S, CutError, RefusedError, TooSlow, least_rate, missing_package, patience_s

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

BLOCK = 16 << 20
FIRST_BLOCK = 1 << 20
"""Of an object store, and the next ones while it is slow: how slow, only a whole block tells."""

FAST_S = 4.0
"""A store that takes no longer for the first block is asked for large ones."""

_PIECES = 64
"""Of an answer that may wait until they are written; each has up to 256 KiB."""

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
    loop.set_exception_handler(lambda *_: None)  # who waits for a transfer gets the error; others would see a traceback
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


def object_blocks(system: AbstractFileSystem, path: str, found: Found, start: int) -> Iterator[bytes]:
    """The bytes of a file of an object store from `start` on, block by block.

    Raises:
        CutError, TooSlow, RefusedError: see there.
        Exception: of whatever library lies below fsspec.
    """
    if found.size is None:
        raise RefusedError("the server does not say how long the file is, so that a cut could not be noticed")
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


@dataclass(frozen=True)
class Answer:
    """What a web server sends.

    Attributes:
        start: where the bytes belong in the file.
        found: size and version of the whole file.
        validator: by which the server can tell later whether the file is still the same (RFC 9110): a strong ETag, or
            else the date; None if it gives neither.
        blocks: the bytes, as they come.
    """

    start: int
    found: Found
    validator: str | None
    blocks: Iterator[bytes]


@contextmanager
def web_answer(system: AbstractFileSystem, path: str, start: int, validator: str | None) -> Iterator[Answer]:
    """Asks a web server once for a file, from a byte on if it is still the one of a validator.

    Raises:
        CutError: the answer is another one than was asked for.
        RangeError: the file has fewer bytes by now.
        RefusedError: the answer cannot be the file, or a cut could not be noticed.
        Exception: of fsspec or aiohttp.
    """
    headers = {"User-Agent": "hearonce", **system.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
    if start and validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    with _received(system, path, headers) as (answer, blocks):
        first, size = _extent(answer, start)
        said = {name: answer.headers.get(name) for name in ("ETag", "Last-Modified")}
        tag = said["ETag"]
        strong = tag if tag and not tag.startswith("W/") else said["Last-Modified"]
        if first and strong not in (None, validator):
            raise RangeError("it keeps changing while it is fetched")
        yield Answer(first, Found(size, version_of(said)), strong, blocks)


@contextmanager
def _received(
    system: AbstractFileSystem, path: str, headers: dict[str, str]
) -> Iterator[tuple[ClientResponse, Iterator[bytes]]]:
    """An answer and the bytes of its body, which end early without an error where a cut shows in their number.

    They are taken from aiohttp as they come, for it drops what lies in its buffer when a connection breaks.
    """
    from aiohttp import ClientPayloadError
    from fsspec.asyn import sync  # type: ignore[import-untyped]

    queue: asyncio.Queue[Any] = asyncio.Queue(_PIECES)

    async def receive() -> None:
        try:
            session = await system.set_session()
            async with session.get(system.encode_url(path), **{**system.kwargs, "headers": headers}) as answer:
                await queue.put(answer)
                try:
                    async for piece in answer.content.iter_any():
                        await queue.put(piece)
                except ClientPayloadError:
                    if answer.content_length is None:
                        raise CutError("the connection was cut") from None
            await queue.put(b"")
        except Exception as error:
            await queue.put(error)

    async def start() -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(receive())

    def take() -> Any:
        item = sync(system.loop, queue.get)
        if isinstance(item, Exception):
            raise item
        return item

    task = sync(system.loop, start)
    try:
        answer = take()
        if answer.status == 416:
            raise RangeError("the server has fewer bytes than it announced, or another file by now")
        answer.raise_for_status()
        yield answer, iter(take, b"")
    finally:
        system.loop.call_soon_threadsafe(task.cancel)


class RangeError(CutError):
    """What has come before is of no use: the file is another one by now."""


def _extent(answer: ClientResponse, start: int) -> tuple[int, int | None]:
    """Where the bytes of an answer belong, and how long the whole file is: None if a chunked answer does not say."""
    if answer.status not in (200, 206):
        raise CutError(f"the server answers with status {answer.status}, not with the file")
    if answer.headers.get("Content-Encoding", "identity") not in ("identity", ""):
        raise RefusedError("the server sends the file compressed, so that its length cannot be checked")
    if answer.content_type == "text/html":
        raise RefusedError("the server answers with a web page, not with the file")
    if answer.status == 200:
        if answer.content_length is None and "chunked" not in answer.headers.get("Transfer-Encoding", "").lower():
            raise RefusedError("the server does not say how long the file is, so that a cut could not be noticed")
        return 0, answer.content_length
    given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
    first, last, size = (int(number) for number in given.groups()) if given else (-1, -1, -1)
    if first != start or last != size - 1:
        raise RangeError("the server answers with another range than was asked for")
    return first, size
