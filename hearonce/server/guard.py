"""Who may ask the server what: addresses, tokens, origins, and the headers of every answer (ASGI middleware)."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = "x-hearonce"
COOKIE = "hearonce_token"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
MOST_JSON_BYTES = 4 << 20
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; font-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
}


class Guard:
    """Refuses what does not come from a person at the page or a program that means this server.

    A page of another site that a person has open can send requests to loopback addresses, also under a name of its own
    that resolves to one; so the `Host` must be a loopback name, requests that change something need a header that no
    form can send, and an `Origin`, where there is one, must be the server's. With a token, every request needs it.

    Args:
        app: what is guarded.
        token: that every request needs, as `Authorization: Bearer`, as cookie, or once as `/?token=`; None for none.
        loopback: whether the server listens on a loopback address alone.
    """

    def __init__(self, app: App, token: str | None, loopback: bool) -> None:
        self._app, self._token, self._loopback = app, token, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request as ASGI asks."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in known),
                ]
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            status, sentence, more = refusal
            body = json.dumps({"error": sentence}).encode()
            start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
            await guarded({"type": "http.response.start", "status": status, "headers": start})
            await guarded({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if self._loopback and name not in LOOPBACK:
            return 403, "This server answers to 127.0.0.1 and localhost only.", []
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "Requests of other sites are refused.", []
        if scope["method"] not in ("GET", "HEAD"):
            if headers.get(HEADER) != "1":
                return 403, "Send the header `X-Hearonce: 1` with requests that are no GET.", []
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind in ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
                return 415, "Send JSON, or the bytes of a file as application/octet-stream.", []
        if self._token is None:
            return None
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and given and self._is_token(given):
            cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
            return 303, "Signed in.", [(b"location", b"/"), (b"set-cookie", cookie.encode())]
        cookies: SimpleCookie = SimpleCookie()
        cookies.load(headers.get("cookie", ""))
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        held = cookies[COOKIE].value if COOKIE in cookies else ""
        if self._is_token(bearer) or self._is_token(held):
            return None
        return 401, "Open the address with ?token=TOKEN that `hearonce serve` printed, or send it as a bearer.", []

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())
