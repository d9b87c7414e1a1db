"""What goes wrong between here and a remote file, as one sentence without secrets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from cache.errors import UserError
from pipeline.monitor.events import without_secrets
from pipeline.remote.address import InsideError, is_http, scheme, shown

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_CREDENTIALS = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; FSSPEC_S3_ANON=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS; FSSPEC_GS_TOKEN=anon for a public bucket",
}
_NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
    "DefaultCredentialsError",
    "RefreshError",
)
"""Errors of botocore and google-auth, by name: neither need be installed."""

_NO_CONNECTION = ("ClientConnectorError", "EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError")
_TRANSIENT = (408, 425, 429)
_GONE = (404, 410)

MOST_WAIT_S = 120.0
"""A server that asks (by `Retry-After`) to come back later than this is given up."""


@dataclass(frozen=True)
class Fault:
    """Why a remote file cannot be had.

    Attributes:
        what: in a few words.
        more: the remedy, or nothing.
        hopeless: another attempt would end in the same way.
        for_all: it would for the other files of the same server or bucket, too.
        absent: the server answers, but has no such file.
        wait_s: how long the server asks to wait before the next attempt, 0 if it does not say.
    """

    what: str
    more: str = ""
    hopeless: bool = True
    for_all: bool = False
    absent: bool = False
    wait_s: float = 0.0

    def reason(self, url: str) -> str:
        """One sentence that names the URL without its query."""
        return f"{self.what}: {shown(url)}{self.more}"


class CutError(Exception):
    """A transfer ended early or did not agree with what was announced; another attempt may go on."""


class RefusedError(Exception):
    """An answer that cannot be the file, or of which a cut could not be noticed; another one would be the same."""


def fault_of(error: BaseException, url: str) -> Fault:
    """Tells what an error of fsspec, or of a library below it, means for a URL."""
    chain = list(_chain(error))
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    status = next((code for one in chain if (code := _status(one))), None)
    if "HttpProcessingError" in names:
        status = None  # aiohttp gives 400 to what it does not understand itself
    text = f" ({_text(chain[-1])})"
    for one in chain:
        if isinstance(one, TooSlow):
            return Fault(str(one))
        if isinstance(one, InsideError):
            return Fault(f"{one}, which only a listed address of that kind may lead to")
    if any(isinstance(one, ImportError) for one in chain):
        return Fault("a package is missing", f" ({missing_package(url, error)})", for_all=True)
    if "NonHttpUrlRedirectClientError" in names:
        return Fault("redirected to something other than a web address")
    if "InvalidUrlRedirectClientError" in names:
        return Fault("redirected to what is no address")
    if any(isinstance(one, UnicodeError) for one in chain):
        return Fault("the host, or that of a redirect, is no name", text)
    if isinstance(error, RefusedError):
        return Fault(str(error))
    if isinstance(error, CutError):
        return Fault(str(error), hopeless=False)
    if names & set(_NO_CREDENTIALS):
        return Fault("no credentials", _remedy(url), for_all=True)
    if status in (401, 403) or any(isinstance(one, PermissionError) for one in chain) or _is_forbidden(error):
        return Fault("access denied", _remedy(url))
    if status in _GONE:
        return Fault("not found", absent=True)
    if any(isinstance(one, socket.gaierror) for one in chain) or "ClientConnectorDNSError" in names:
        return Fault("no such host", _endpoint(url), for_all=True)
    if names & {"ClientSSLError", "SSLError"}:
        return Fault("no secure connection", text, for_all=True)
    if any(isinstance(one, ConnectionRefusedError) for one in chain) or names & set(_NO_CONNECTION):
        return Fault("no connection", _endpoint(url), hopeless=_is_s3(url), for_all=True)  # botocore has tried already
    if any(isinstance(one, TimeoutError) for one in chain) or "ReadTimeoutError" in names:
        return Fault("timed out", hopeless=False)
    if status is not None:
        wait_s = max(_retry_after_s(one) for one in chain)
        if wait_s > MOST_WAIT_S:
            return Fault(f"HTTP {status}", f" (try again in {wait_s:.0f} s, says the server)")
        return Fault(f"HTTP {status}", hopeless=not (status >= 500 or status in _TRANSIENT), wait_s=wait_s)
    if isinstance(chain[-1], FileNotFoundError):  # fsspec wraps whatever fails over HTTP in one
        return Fault("not found", absent=True)
    return Fault("cannot be read", text, hopeless=isinstance(error, ValueError | NotImplementedError))


def missing_package(url: str, error: BaseException | None = None) -> str:
    """What to install for a URL."""
    extra = EXTRAS.get(scheme(url))
    how = f"`uv sync --extra {extra}`" if extra else f"the package that fsspec asks for ({_text(error)})"
    return f"{scheme(url)}:// needs {how}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that caused it, the outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _status(error: BaseException) -> int | None:
    """The HTTP status in an error of aiohttp, gcsfs or botocore."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    value = getattr(error, "code" if type(error).__name__ == "HttpError" else "status", None)
    return value if isinstance(value, int) and 400 <= value < 600 else None


def _retry_after_s(error: BaseException) -> float:
    """Seconds that an answer asks to wait (RFC 9110, `Retry-After`: a number or a date); 0 if it does not."""
    answer = getattr(error, "response", None)
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders") if isinstance(answer, dict) else None
    headers = headers or getattr(error, "headers", None)
    given = headers.get("retry-after") if isinstance(headers, Mapping) else None
    try:
        if not given or given.isdecimal():
            return float(given or 0)
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _is_forbidden(error: BaseException) -> bool:
    """gcsfs says it in words only."""
    return isinstance(error, OSError) and str(error).startswith(
        ("Forbidden", "Anonymous caller", "Invalid Credentials")
    )


def _remedy(url: str) -> str:
    known = _CREDENTIALS.get(EXTRAS.get(scheme(url), ""))
    if known:
        return f" (are credentials set? {known})"
    if is_http(url):
        return " (if it needs a login, put it into ~/.netrc; if its URL was signed, that may have expired)"
    return " (are credentials set?)"


def _endpoint(url: str) -> str:
    return " (is AWS_ENDPOINT_URL right?)" if _is_s3(url) else ""


def _is_s3(url: str) -> bool:
    return EXTRAS.get(scheme(url)) == "s3"


def _text(error: BaseException | None) -> str:
    return " ".join(without_secrets(str(error) or type(error).__name__).split())[:300]


VARIABLE = "HEARONCE_LEAST_RATE"
DEFAULT = 10_000.0
"""Bytes per second; a telephone line has as much."""

WINDOW_S = 30.0
"""How long a server may be slower. A connection on which nothing comes at all is given up by its own time limit."""

ANSWER_S = 90.0
"""How long the head of an answer may take, from the question on."""


class TooSlow(Exception):
    """A server that sends less than the least rate."""

    def __init__(self, least: float) -> None:
        super().__init__(f"too slow: fewer than {least:g} bytes a second ({VARIABLE})")


def least_rate() -> float:
    """Bytes per second that a server must send, by the environment; 0 for no bound.

    Raises:
        UserError: the environment says no number.
    """
    given = os.environ.get(VARIABLE) or str(DEFAULT)
    try:
        rate = float(given)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < float("inf"):
        raise UserError(f"{VARIABLE} is {given!r}: give the bytes per second that servers must send, such as 10000.")
    return rate


def fast_enough(blocks: Iterable[bytes], window_s: float | None = None) -> Iterator[bytes]:
    """Passes blocks on as they come; the time that the receiver takes for them does not count.

    Raises:
        TooSlow: over a window, less came than the least rate.
    """
    least, window_s = least_rate(), WINDOW_S if window_s is None else window_s
    source = iter(blocks)
    waited, came = 0.0, 0
    while True:
        begun = time.monotonic()
        block = next(source, None)
        waited += time.monotonic() - begun
        if block is None:
            return
        came += len(block)
        if waited >= window_s:
            if came < least * waited:
                raise TooSlow(least)
            waited, came = 0.0, 0
        yield block


def patience_s(size: int) -> float | None:
    """How long a block of so many bytes may take at the least rate; None for ever."""
    least = least_rate()
    return WINDOW_S + size / least if least else None
