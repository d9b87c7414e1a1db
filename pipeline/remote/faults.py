"""What goes wrong between here and a remote file, as one sentence without secrets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.remote.address import is_http, scheme, shown, without_secrets

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


@dataclass(frozen=True)
class Fault:
    """Why a remote file cannot be had.

    Attributes:
        reason: names the URL, without its query, and the remedy where there is one.
        hopeless: another attempt would end in the same way.
    """

    reason: str
    hopeless: bool


class CutError(Exception):
    """A transfer ended early or did not agree with what was announced; another attempt may go on."""


def fault_of(error: BaseException, url: str) -> Fault:
    """Tells what an error of fsspec, or of a library below it, means for a URL."""
    where, chain = shown(url), list(_chain(error))
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    status = next((code for one in chain if (code := _status(one))), None)
    if any(isinstance(one, ImportError) for one in chain):
        return Fault(missing_package(url, error), True)
    if any(isinstance(one, CutError) for one in chain):
        return Fault(f"{where}: {error}", False)
    if names & set(_NO_CREDENTIALS):
        return Fault(f"no credentials for {where}{_remedy(url)}", True)
    if status in (401, 403) or any(isinstance(one, PermissionError) for one in chain) or _is_forbidden(error):
        return Fault(f"access denied: {where}{_remedy(url)}", True)
    if status in _GONE:
        return Fault(f"not found: {where}", True)
    if any(isinstance(one, socket.gaierror) for one in chain) or "ClientConnectorDNSError" in names:
        return Fault(f"no such host: {where}", True)
    if "ClientSSLError" in names or "SSLError" in names:
        return Fault(f"no secure connection: {where} ({_text(error)})", True)
    if any(isinstance(one, ConnectionRefusedError) for one in chain) or names & set(_NO_CONNECTION):
        return Fault(f"no connection: {where} does not answer{_endpoint(url)}", True)
    if any(isinstance(one, TimeoutError) for one in chain) or "ReadTimeoutError" in names:
        return Fault(f"timed out: {where}", False)
    if status is not None:
        return Fault(f"HTTP {status}: {where}", not (status >= 500 or status in _TRANSIENT))
    if any(isinstance(one, FileNotFoundError) for one in chain):
        return Fault(f"not found: {where}", True)
    return Fault(f"{where}: {_text(error)}", False)


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
    for name in ("status", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


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
    return " (is AWS_ENDPOINT_URL right?)" if EXTRAS.get(scheme(url)) == "s3" else ""


def _text(error: BaseException | None) -> str:
    return without_secrets(str(error) or type(error).__name__)[:300]
