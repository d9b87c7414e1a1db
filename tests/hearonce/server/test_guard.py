"""Requests that the guard refuses, and the headers of every answer."""

import asyncio
import json

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from hearonce.server import guard
from hearonce.server.guard import HEADERS, LARGEST_BODY, MEDIA_POLICY, Guard, is_loopback

TOKEN = "open-sesame-1"
JSON = {"X-Hearonce": "1", "Content-Type": "application/json"}


async def answer(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body()), "query": dict(request.query_params)})


PATHS = ("/", "/media", "/api/search", "/api/uploads", "/static/app.js")
APP = Starlette(routes=[Route(path, answer, methods=["GET", "POST"]) for path in PATHS])


def client(token: str | None = None, loopback: bool = True) -> TestClient:
    return TestClient(Guard(APP, token, loopback), base_url="http://localhost:8383", follow_redirects=False)


@pytest.mark.parametrize("host", ("localhost", "LOCALHOST:1", "127.0.0.1:8383", "[::1]:8383", "127.1.2.3"))
def test_names_of_this_machine_are_answered(host):
    assert client().get("/api/search", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ("example.org", "localhost.example.org", "127.0.0.1.example.org", "a@localhost/b", "[::1", "", "10.0.0.1")
)
def test_other_names_are_not(host):
    refused = client().get("/api/search", headers={"Host": host})
    assert refused.status_code in (400, 403) and refused.json()["error"]
    assert all(refused.headers[name] == value for name, value in HEADERS.items())


@pytest.mark.parametrize(
    ("headers", "status"),
    (
        ({"Origin": "http://localhost:8383"}, 200),
        ({"Origin": "http://localhost:9999"}, 403),
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
    ),
)
def test_pages_of_other_origins_get_nothing(headers, status):
    assert client().get("/media", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    (
        ("/api/search", JSON, 200),
        ("/api/search", {"Content-Type": "application/json"}, 403),
        ("/api/search", {**JSON, "X-Hearonce": "0"}, 403),
        ("/api/search", {**JSON, "Content-Type": "text/plain"}, 415),
        ("/api/search", {"X-Hearonce": "1"}, 415),
        ("/api/uploads", {**JSON, "Content-Type": "audio/webm;codecs=opus"}, 200),
        ("/api/uploads", {**JSON, "Content-Type": "multipart/form-data; boundary=a"}, 415),
    ),
)
def test_what_changes_state_cannot_come_from_a_form(path, headers, status):
    assert client().post(path, content=b"{}", headers=headers).status_code == status


def test_bodies_are_bounded_whatever_they_claim():
    assert client().post("/api/search", content=bytes(LARGEST_BODY), headers=JSON).json()["bytes"] == LARGEST_BODY
    for content in (bytes(LARGEST_BODY + 1), iter([bytes(LARGEST_BODY), b"1"])):
        refused = client().post("/api/search", content=content, headers=JSON)
        assert refused.status_code == 413 and "larger than 65,536 bytes" in refused.json()["error"]
    assert client().post("/api/search", content=b"", headers={**JSON, "Content-Length": "-1"}).status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(guard, "BODY_S", 0.05)
    scope = {
        "type": "http", "method": "POST", "path": "/api/search", "query_string": b"", "server": ("localhost", 1),
        "headers": [(b"host", b"localhost"), *((a.lower().encode(), b.encode()) for a, b in JSON.items())],
    }  # fmt: skip
    sent = []

    async def receive():
        if not sent:
            sent.append({"type": "begun"})
            return {"type": "http.request", "body": b"{", "more_body": True}
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(APP, None, True)(scope, receive, send))
    assert sent[1]["status"] == 408 and "did not arrive" in json.loads(sent[2]["body"])["error"]


def test_headers_keep_a_browser_from_running_what_a_file_holds():
    policy = client().get("/").headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy and "unsafe" not in policy
    assert client().get("/media").headers["content-security-policy"] == MEDIA_POLICY
    assert client().get("/").headers["cache-control"] == "no-store"
    assert client().get("/static/app.js").headers["cache-control"] == "no-cache"


def test_a_token_is_asked_for_by_every_path():
    own = client(TOKEN, loopback=False)
    for path in PATHS:
        refused = own.get(path)
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer", path
    for value in (f"Bearer {TOKEN}", f"bearer {TOKEN}"):
        assert own.get("/media", headers={"Authorization": value}).status_code == 200
    for value in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer \xe9"):
        assert own.get("/media", headers={"Authorization": value.encode("latin-1")}).status_code == 401
    assert own.get(f"/media?token={TOKEN}").status_code == 401
    assert own.get("/?token=other").status_code == 401

    signed_in = own.get(f"/?corpus=demo&token={TOKEN}&q=a%26b")
    assert signed_in.status_code == 303 and signed_in.headers["location"] == "/?corpus=demo&q=a%26b"
    cookie = signed_in.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    held = cookie.partition(";")[0]
    fresh = client(TOKEN, loopback=False)
    assert fresh.get("/media", headers={"Cookie": f"a=b; {held}"}).status_code == 200
    assert fresh.get("/media", headers={"Cookie": held[:-1]}).status_code == 401
    assert fresh.post("/api/search", content=b"{}", headers={"Cookie": held}).status_code == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    (("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False), ("a.b", False)),
)
def test_addresses_that_only_this_machine_reaches(host, expected):
    assert is_loopback(host) == expected
