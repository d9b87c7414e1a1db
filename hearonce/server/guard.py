"""What every request has to pass: host, origin, token, size; and the headers that every answer carries.

A page of another site that is open in the same browser must neither read what is served here nor change anything: its
requests name another origin; a name of its own that it lets point to this machine (DNS rebinding) is another host; and
what changes state asks for a header that a form cannot send.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hearonce.server.uploads import MOST_BYTES

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
MEDIA_POLICY = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
"""For files that others have made: whatever they hold, a browser runs none of it."""

HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
FILES = ("/media", "/preview", "/cut", "/image")

STATE_HEADER = "x-hearonce"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
"""What a form of another site can send."""

LARGEST_BODY = 64 << 10
LARGEST_BODIES = {"/api/uploads": MOST_BYTES, "/api/subsets": 32 << 20}
"""Bytes, by path."""

BODY_S = 30.0
BODIES_S = {"/api/uploads": 300.0}
"""In which the body of a request must have arrived, seconds."""


class Refused(Exception):
    """A request that gets no further."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        token: that every request needs, as `Authorization: Bearer`, as cookie, or once as `/?token=`; None for none.
        loopback: whether the server listens at a loopback address, so that only such names call it.
    """

    def __init__(self, app: ASGIApp, token: str | None, loopback: bool) -> None:
        self._app, self._loopback = app, loopback
        self._token = None if token is None else token.encode()
        self._cookie = None if token is None else hashlib.sha256(b"hearonce cookie " + token.encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or passes on, one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        guarded = _with_headers(scope["path"], send)
        try:
            self._check_host(headers)
            _check_origin(headers)
            location = self._check_token(scope, headers)
            if location is not None:
                return await _redirect(guarded, location, f"{_cookie_name(scope)}={self._cookie}")
            if scope["method"] not in ("GET", "HEAD"):
                _check_changing(scope["path"], headers)
            body = _Body(scope["path"], headers, receive)
        except Refused as refused:
            return await _refuse(guarded, refused)
        await body.passed_to(self._app, scope, guarded)

    def _check_host(self, headers: Headers) -> None:
        host = headers.getlist("host")
        if len(host) != 1 or not _name(host[0]):
            raise Refused(400, "The request names no host.")
        if self._loopback and not is_loopback(_name(host[0])):
            raise Refused(403, "This server answers to 127.0.0.1 and localhost only.")

    def _check_token(self, scope: Scope, headers: Headers) -> str | None:
        """None if the request may pass; where to go on, if a token was given in the address of the page."""
        if self._token is None or self._cookie is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given and scope["path"] == "/" and scope["method"] == "GET":
            if not hmac.compare_digest(given[0].encode("utf-8", "replace"), self._token):
                raise Refused(401, "This is not the token with which the server was started.")
            kept = urlencode([(name, value) for name, value in query if name != "token"])
            return "/?" + kept if kept else "/"
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        cookie = _cookie(headers.get("cookie", ""), _cookie_name(scope))
        by_header = scheme.lower() == "bearer" and hmac.compare_digest(
            bearer.strip().encode("utf-8", "replace"), self._token
        )
        by_cookie = hmac.compare_digest(cookie.encode("utf-8", "replace"), self._cookie.encode())
        if not (by_header or by_cookie):
            raise Refused(
                401,
                "Open the address with ?token=TOKEN that `hearonce serve` printed, or send "
                "`Authorization: Bearer TOKEN`.",
            )
        return None


class _Body:
    """The body of a request, bounded in bytes and in time."""

    def __init__(self, path: str, headers: Headers, receive: Receive) -> None:
        self._receive, self._left = receive, LARGEST_BODIES.get(path, LARGEST_BODY)
        self._largest, self._seconds = self._left, BODIES_S.get(path, BODY_S)
        self._deadline = asyncio.get_running_loop().time() + self._seconds
        self._whole, self._refused = False, None
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._largest:
            raise self._too_large()

    _refused: Refused | None

    def _too_large(self) -> Refused:
        return Refused(413, f"The body is larger than {self._largest:,} bytes.")

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self._refused = Refused(408, f"The body did not arrive within {self._seconds:.0f} s.")
            raise self._refused from None
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._left < 0:
                self._refused = self._too_large()
                raise self._refused
        return message

    async def passed_to(self, app: ASGIApp, scope: Scope, send: Send) -> None:
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if self._refused is None:
                started = True
                await send(message)

        try:
            await app(scope, self.receive, answer)
        except Exception:
            if self._refused is None:
                raise
        if self._refused is not None and not started:
            await _refuse(send, self._refused, close=True)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name(host: str) -> str:
    """`localhost` of `localhost:8383`; empty where it is no host."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return "" if parts.path or parts.username or parts.query or parts.fragment else (parts.hostname or "").lower()


def _check_origin(headers: Headers) -> None:
    host, origin = headers["host"].lower(), headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
        raise Refused(403, f"Requests by pages of another origin ({origin[:100]}) are not answered.")
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "navigate")
    if site not in ("same-origin", "none") and mode != "navigate":
        raise Refused(403, "Requests by pages of another origin are not answered.")


def _check_changing(path: str, headers: Headers) -> None:
    if headers.get(STATE_HEADER) != "1":
        raise Refused(403, "Send the header `X-Hearonce: 1` with requests that are no GET.")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in FORMS or (path != "/api/uploads" and kind != "application/json"):
        raise Refused(415, "Send JSON as application/json, or the bytes of a file as application/octet-stream.")


def _cookie_name(scope: Scope) -> str:
    server = scope.get("server") or ("", 0)
    return f"hearonce-{server[1]}"


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _with_headers(path: str, send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if path in FILES:
                headers["content-security-policy"] = MEDIA_POLICY
            headers.setdefault("cache-control", "no-cache" if path.startswith("/static/") else "no-store")
        await send(message)

    return answer


async def _refuse(send: Send, refused: Refused, close: bool = False) -> None:
    body = json.dumps({"error": refused.sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if close or refused.status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _redirect(send: Send, location: str, cookie: str) -> None:
    headers = [
        (b"location", location.encode()),
        (b"set-cookie", f"{cookie}; Path=/; HttpOnly; SameSite=Strict".encode()),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
