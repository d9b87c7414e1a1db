"""Resumable downloads over HTTP (RFC 9110, range requests), of which no byte is taken on trust.

A resumed download goes on only if the server says, by a strong ETag or a date, that the file is still the same one;
and only from bytes that are known to be on the disk, so that a power cut leaves no hole.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from cache.durable import new_file
from cache.errors import UserError, writing
from pipeline.checkpoints.catalogue import HEAD_BYTES, PlaceError, root, stand_in
from pipeline.monitor.progress import Meter
from pipeline.monitor.threads import persist
from pipeline.remote.address import InsideError, allowed_by, check_address, check_host, is_http, shown
from pipeline.remote.faults import ANSWER_S, TooSlow, fast_enough

TRIES = 5
"""Attempts in a row that bring nothing before a place is given up."""

PAUSE_S = 1.0
TIMEOUT_S = 30.0
BLOCK = 1 << 20
SYNC_EVERY = 16 << 20
_TRANSIENT = (408, 425, 429)
_GONE = (404, 410)


@dataclass
class _State:
    """What is known of an unfinished download.

    Attributes:
        url: where it comes from.
        validator: ETag or Last-Modified of the file; None if a download cannot be resumed.
        total: bytes of the whole file, None if the server has not said.
        synced: bytes that are certainly on the disk.
    """

    url: str
    validator: str | None = None
    total: int | None = None
    synced: int = 0


class _CutError(Exception):
    """The transfer ended early; another attempt may go on."""


_FAILURES = (_CutError, TooSlow, OSError, http.client.HTTPException)


def fetch(url: str, scratch: Path, label: str) -> Path:
    """Downloads a file into a folder that is kept between attempts and runs.

    Args:
        url: http or https; redirections are followed.
        scratch: folder of this download alone.
        label: name for the progress bar.

    Returns:
        The complete file in the folder.

    Raises:
        PlaceError: it cannot be had now; what has arrived is kept.
        UserError: it cannot be written.
    """
    part = scratch / "part"
    with Meter(label) as meter:

        def attempt() -> Path:
            _attempt(url, part, _read_state(scratch, url), meter)
            return part

        try:
            return persist(attempt, lambda: _read_state(scratch, url).synced, _is_hopeless, TRIES, PAUSE_S)
        except UserError:
            raise
        except _FAILURES as error:
            raise PlaceError(f"{shown(url)}: {root(error)}") from None


def _attempt(url: str, part: Path, state: _State, meter: Meter) -> None:
    """One request, which goes on where the state says or starts anew."""
    headers = {"User-Agent": "hearonce", "Accept-Encoding": "identity"}
    if state.synced and state.validator:
        headers |= {"Range": f"bytes={state.synced}-", "If-Range": state.validator}
    if state.total is not None and state.synced == state.total:
        return  # all of it had arrived when the process ended
    try:
        with _opener(url).open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
            start, total = _extent(answer, state, part)
            validator = _validator(answer) or (state.validator if start else None)
            _receive(answer, part, _State(url, validator, total, start), meter)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            _forget(part)
            raise _CutError("the server has fewer bytes than it announced, or another file by now") from None
        if error.code >= 500 or error.code in _TRANSIENT:
            raise _CutError(f"HTTP {error.code} {error.reason}") from None
        raise PlaceError(f"{shown(url)}: HTTP {error.code} {error.reason}", absent=error.code in _GONE) from None
    except ValueError as error:  # `http.client` and `socket` check what a redirection leads to by their own means
        raise PlaceError(f"{shown(url)} redirects to what is no address ({error})") from None


def _opener(url: str) -> urllib.request.OpenerDirector:
    """What follows redirections, but into this network only if the address itself lies there: see `inside`."""
    allowed = allowed_by(urlsplit(url).hostname or "")

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, request: Any, file: Any, code: int, text: str, headers: Any, new: str) -> Any:
            if not is_http(new):
                raise PlaceError(f"{shown(url)} redirects to something other than a web address")
            check_host(urlsplit(new).hostname, allowed)
            return super().redirect_request(request, file, code, text, headers, new)

    return urllib.request.build_opener(Redirects, *_guarded(allowed))


@contextmanager
def _answered_in_time(connection: http.client.HTTPConnection) -> Iterator[None]:
    """Breaks a connection off whose answer has no whole head by then: single bytes put off every other time limit."""
    late = threading.Event()

    def break_off() -> None:
        late.set()
        with suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(ANSWER_S, break_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if late.is_set():
            raise TimeoutError("timed out") from None
        raise
    finally:
        timer.cancel()
    if late.is_set():  # a head that was cut off is read as a whole one
        raise TimeoutError("timed out")


def _guarded(allowed: frozenset[str]) -> list[urllib.request.BaseHandler]:
    """Handlers whose connections look at the address that they have reached before they send anything."""

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            check_address(self.sock.getpeername()[0], allowed)

        def getresponse(self) -> http.client.HTTPResponse:
            with _answered_in_time(self):
                return super().getresponse()

    class Secure(Plain, http.client.HTTPSConnection):
        pass

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, request)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, request)

    return [PlainHandler(), SecureHandler()]


def _extent(answer: http.client.HTTPResponse, state: _State, part: Path) -> tuple[int, int | None]:
    """Where the bytes of an answer belong, and how long the whole file is, None if a chunked answer does not say."""
    url = shown(state.url)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise PlaceError(f"{url} sends the file compressed, so that its length cannot be checked")
    if answer.headers.get_content_type() == "text/html":
        raise PlaceError(f"{url} answers with a web page, not with the file")
    if answer.status != 206:
        if answer.length is None and not answer.chunked:
            raise PlaceError(f"{url} does not say how long the file is, so that a cut could not be noticed")
        return 0, answer.length
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
    first, last, total = (int(one) for one in found.groups()) if found else (-1, -1, -1)
    if first != state.synced or last != total - 1 or state.total not in (None, total):
        _forget(part)
        raise _CutError("the server answers with another range than was asked for")
    if _validator(answer) not in (None, state.validator):
        _forget(part)
        raise _CutError("the file changed at the server")
    return first, total


def _receive(answer: http.client.HTTPResponse, part: Path, state: _State, meter: Meter) -> None:
    """Writes the body of an answer from byte `state.synced` on, and puts it on the disk now and then."""
    done = state.synced
    with writing(part):
        file = part.open("r+b" if done else "wb")
    with file:
        with writing(part):
            file.truncate(done)
            file.seek(done)
        try:
            meter.at(done, state.total)
            for block in _blocks(answer):
                if done == 0 and (wrong := stand_in(block[:HEAD_BYTES])):
                    raise PlaceError(f"{shown(state.url)} sends {wrong}")
                with writing(part):
                    file.write(block)
                done += len(block)
                meter.at(done, state.total)
                if done - state.synced >= SYNC_EVERY:
                    _sync(file, part, state, done)
        finally:
            _sync(file, part, state, done)
    if done == 0:
        raise PlaceError(f"{shown(state.url)} sends an empty file")
    if state.total is not None and done < state.total:
        raise _CutError(f"the connection was cut after {done} of {state.total} bytes")
    state.total = done
    _write_state(part, state)


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body in blocks of equal size, of which little may come at a time, but not too slowly."""
    gathered = bytearray()
    for piece in fast_enough(iter(lambda: answer.read1(BLOCK), b"")):
        gathered += piece
        if len(gathered) >= BLOCK:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _sync(file: BinaryIO, part: Path, state: _State, done: int) -> None:
    with writing(part):
        file.flush()
        os.fsync(file.fileno())
    state.synced = done
    _write_state(part, state)


def _validator(answer: http.client.HTTPResponse) -> str | None:
    """A strong ETag, or else the date, by which a server can tell whether the file is still the same."""
    tag = answer.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    return answer.headers.get("Last-Modified")


def _is_hopeless(error: Exception) -> bool:
    """Whether another attempt a second later is pointless: no network, host or certificate, nowhere to write."""
    if isinstance(error, UserError | TooSlow | InsideError) or not isinstance(error, _FAILURES):
        return True
    reason = getattr(error, "reason", None)
    if isinstance(reason, (TimeoutError, ConnectionError)):
        return isinstance(reason, ConnectionRefusedError)
    return isinstance(error, urllib.error.URLError)


def _forget(part: Path) -> None:
    _state_path(part.parent).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _state_path(scratch: Path) -> Path:
    return scratch / "state.json"


def _write_state(part: Path, state: _State) -> None:
    with new_file(_state_path(part.parent)) as temporary:
        temporary.write_text(json.dumps(asdict(state)), encoding="utf-8")


def _read_state(scratch: Path, url: str) -> _State:
    """What an earlier attempt left for the same address, nothing if it cannot be gone on with."""
    part = scratch / "part"
    try:
        state = _State(**json.loads(_state_path(scratch).read_text(encoding="utf-8")))
        complete = state.total is not None and state.synced == state.total
        if state.url == url and part.stat().st_size >= state.synced and (state.validator or complete):
            return state
    except (OSError, ValueError, TypeError):
        pass
    return _State(url)
