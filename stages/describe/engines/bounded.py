"""Answers of a web server, bounded in bytes on their way and after decompression."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2 as httpx  # which openai is built on

ACCEPTED = "gzip, deflate"
"""What `bounded` can decompress step by step; an answer in another encoding is refused."""
_BLOCK = 1 << 16
_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class TooMuch(httpx.DecodingError):
    """An answer is larger than it may be, or compressed in a way that cannot be bounded; said as a clause."""


def bounded(most_bytes: int) -> Callable[[httpx.Response], Awaitable[None]]:
    """An event hook for `response` of an httpx client: reading a body of more than so many bytes raises `TooMuch`.

    The hook takes decompression over from httpx, which gives what one block becomes at once, a thousand times its size.
    """

    async def hook(response: httpx.Response) -> None:
        response.encoding = (
            "utf-8"  # as JSON is, whatever the server calls it: Python knows encodings that are no texts
        )
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity", *_WINDOW):
            await response.aclose()
            raise TooMuch(f"the answer is compressed as {encoding[:40]!r}, which was not asked for")
        assert isinstance(response.stream, httpx.AsyncByteStream)
        if encoding in _WINDOW:
            del response.headers["content-encoding"]
        response.stream = _Bounded(response.stream, most_bytes, _WINDOW.get(encoding))

    return hook


class _Bounded(httpx.AsyncByteStream):
    """A body, decompressed if a window is given."""

    def __init__(self, stream: httpx.AsyncByteStream, most_bytes: int, window: int | None) -> None:
        self._stream, self._most, self._window = stream, most_bytes, window

    async def __aiter__(self) -> AsyncIterator[bytes]:
        arrived = given = 0
        unpack = zlib.decompressobj(self._window) if self._window else None
        async for block in self._stream:
            arrived += len(block)
            self._check(arrived)
            while block:
                piece = block
                if unpack is None:
                    block = b""
                else:
                    try:
                        piece = unpack.decompress(block, _BLOCK)
                    except zlib.error as error:
                        raise httpx.DecodingError(f"the compressed answer is damaged ({error})") from None
                    block = b"" if unpack.eof else unpack.unconsumed_tail
                given += len(piece)
                self._check(given)
                yield piece
        if unpack is not None and arrived and not unpack.eof:
            raise httpx.DecodingError("the compressed answer is cut short")

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _check(self, nbytes: int) -> None:
        if nbytes > self._most:
            raise TooMuch(f"the answer has more than {self._most / 1e6:g} MB (`max_answer_mb` under `endpoint:`)")
