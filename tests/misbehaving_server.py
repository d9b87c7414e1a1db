"""A real HTTP server on the loopback interface that keeps files and, on demand, does what bad servers do."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import SupportsIndex
from urllib.parse import urlsplit

BLOCK = 1 << 16


@dataclass
class Site:
    """What the server publishes and how it behaves.

    Attributes:
        files: bytes by path.
        headers: further headers by path; an `ETag` is made from the bytes unless one is given here (None: none).
        faults: by path, what to do wrong with each request in turn, once: `cut:N` closes after N bytes, `long`
            announces more bytes than it sends, `status:N`, `page` (HTML), `whole` ignores the range, `shifted` sends
            another range, `endless` does not say the length, `gzip`, `chunked:N` closes without an end after N bytes.
        always: the same for every request.
        pause_s: between blocks of 64 KiB.
        asked: method, path and range of every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str | None]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    always: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.0
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def ranges(self) -> list[str | None]:
        return [one[2] for one in self.asked]


class Faults(list[str]):
    """Faults of requests in turn; from the last of them on, the site has other files."""

    def __init__(self, faults: list[str], site: Site, files: dict[str, bytes]) -> None:
        super().__init__(faults)
        self._site, self._files = site, files

    def pop(self, index: SupportsIndex = 0) -> str:
        if len(self) == 1:
            self._site.files |= self._files
        return super().pop(index)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        site, path = self.site, urlsplit(self.path).path
        site.asked.append((self.command, path, self.headers.get("Range")))
        left = site.faults.get(path)
        fault, _, number = (left.pop(0) if left else site.always.get(path, "")).partition(":")
        if fault == "status" or path not in site.files:
            self.answer(int(number or 404), b"gone", {"Content-Type": "text/plain", **site.headers.get(path, {})})
        elif fault == "page":
            self.answer(200, b"<!DOCTYPE html><html>quota</html>", {"Content-Type": number or "text/html"})
        else:
            self.publish(path, fault, int(number or 0))

    def publish(self, path: str, fault: str, number: int) -> None:
        data = self.site.files[path]
        headers = {"ETag": f'"{hash(data):x}"', "Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        headers |= self.site.headers.get(path, {})
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        valid = if_range in (None, headers["ETag"], headers.get("Last-Modified"))
        status, start = 200, 0
        if wanted and valid and fault != "whole":
            status, start = 206, int(wanted[1]) - (fault == "shifted")
            if start >= len(data):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            body = data[start : int(wanted[2]) + 1] if wanted[2] else data[start:]
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(data)}"
        else:
            body = data
        if fault == "gzip":
            headers["Content-Encoding"] = "gzip"
        if fault == "chunked":
            return self.chunked(status, body, headers, number)
        length = None if fault == "endless" else len(body) + (100 if fault == "long" else 0)
        if fault == "cut":
            body = body[:number]
        self.answer(status, body, headers, length)
        if fault in ("cut", "long", "endless"):
            self.close_connection = True

    def answer(self, status: int, body: bytes, headers: dict, length: int | None = -1) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        self.end_headers()
        if self.command == "GET":
            self.send(body)

    def send(self, body: bytes) -> None:
        try:
            for start in range(0, len(body), BLOCK):
                self.wfile.write(body[start : start + BLOCK])
                if self.site.pause_s:
                    time.sleep(self.site.pause_s)
        except OSError:  # the reader has gone
            self.close_connection = True

    def chunked(self, status: int, body: bytes, headers: dict, number: int) -> None:
        self.send_response(status)
        for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, len(body), BLOCK):
            block = body[start : start + BLOCK]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            if number and start >= number:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")


class _Quiet(ThreadingHTTPServer):
    """Prints no traceback into a test's output when a client has left."""

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(handler: type[Handler] = Handler) -> Iterator[Site]:
    """Runs a server as long as the block lasts."""
    site = Site()
    server = _Quiet(("127.0.0.1", 0), type("Bound", (handler,), {"site": site}))
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
