"""Parts of files over HTTP, by Starlette's `FileResponse`: ranges that lie, files that change on the way.

Nothing of our own answers ranges; these cases are why that suffices.
"""

import os
import socket
import time
from pathlib import Path

import httpx2 as httpx
import pytest
from server_in_thread import in_thread
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

BODY = bytes(range(256)) * 40
LARGE = 48 << 20
"""More than the buffers of a connection hold."""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "small").write_bytes(BODY)
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def port(files):
    app = Starlette(routes=[Route("/{name}", lambda request: FileResponse(files / request.path_params["name"]))])
    with in_thread(app) as port:
        yield port


@pytest.fixture(scope="module")
def client(port):
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        yield client


def part(client, ranges: str, name: str = "small", **headers: str):
    return client.get(f"/{name}", headers={"Range": ranges, **headers})


@pytest.mark.parametrize(
    ("ranges", "first", "last"),
    (
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=10-", 10, len(BODY) - 1),
        ("bytes=-7", len(BODY) - 7, len(BODY) - 1),
        (f"bytes=-{10**30}", 0, len(BODY) - 1),
        (f"bytes=5-{10**30}", 5, len(BODY) - 1),
        ("BYTES = 1 - 3", 1, 3),
    ),
)
def test_one_range_is_exactly_its_bytes(client, ranges, first, last):
    answer = part(client, ranges)
    assert answer.status_code == 206 and answer.content == BODY[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(BODY)}"
    assert answer.headers["content-length"] == str(last + 1 - first)
    head = client.head("/small", headers={"Range": ranges})
    assert head.status_code == 206 and not head.content and head.headers["content-range"].endswith(f"/{len(BODY)}")


@pytest.mark.parametrize(
    ("ranges", "statuses"),
    (
        (f"bytes={len(BODY)}-", {416}),
        (f"bytes={10**40}-{10**41}", {416}),
        ("bytes=-0", {416}),
        ("bytes=9-3", {400, 416}),
        ("bytes=--5", {400, 416}),
        ("bytes=" + "9" * 6000 + "-", {400, 416}),
        ("bytes=a-b", {400}),
        ("bytes=", {400}),
        ("bytes", {400}),
        ("chapters=1-2", {400}),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(500)), {200}),  # more than is put together: all of the file
    ),
)
def test_ranges_that_lie_get_a_status_and_never_other_bytes(client, ranges, statuses):
    answer = part(client, ranges)
    assert answer.status_code in statuses
    assert answer.content == BODY if answer.status_code == 200 else BODY[:64] not in answer.content
    if answer.status_code == 416:
        assert answer.headers["content-range"] == f"bytes */{len(BODY)}"
    assert part(client, "bytes=0-1", name="empty").status_code in (200, 416)
    assert client.get("/small").content == BODY  # the connection goes on to work


def test_ranges_that_overlap_are_sent_once(client):
    answer = part(client, "bytes=" + ",".join(["0-9999"] * 90))
    assert answer.status_code == 206 and len(answer.content) < len(BODY) + 500
    several = part(client, "bytes=0-1,5-6")
    assert several.headers["content-type"].startswith("multipart/byteranges")
    assert f"bytes 5-6/{len(BODY)}".encode() in several.content and BODY[5:7] in several.content


def test_a_part_is_of_the_version_that_the_client_has(client, files):
    (files / "versions").write_bytes(BODY)
    first = client.get("/versions")
    for validator in (first.headers["etag"], first.headers["last-modified"]):
        assert part(client, "bytes=3-4", "versions", **{"If-Range": validator}).content == BODY[3:5]
    (files / "versions").write_bytes(BODY[::-1])
    os.utime(files / "versions", (10**9, 10**9))
    for validator in (first.headers["etag"], first.headers["last-modified"], '"another"', "garbage"):
        answer = part(client, "bytes=3-4", "versions", **{"If-Range": validator})
        assert answer.status_code == 200 and answer.content == BODY[::-1]


def held_open(name: str) -> int:
    count = 0
    for handle in Path("/proc/self/fd").iterdir():
        try:
            count += handle.readlink().name.startswith(name)
        except OSError:
            continue
    return count


@pytest.mark.parametrize("ranges", ("", "Range: bytes=100-\r\n", "Range: bytes=0-99,200-\r\n"))
@pytest.mark.parametrize("change", ("shorter", "longer", "removed"))
def test_a_file_that_changes_on_the_way_never_gives_more_than_was_promised(port, files, ranges, change):
    path = files / f"changing-{change}"
    with path.open("wb") as file:
        file.truncate(LARGE)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        request = f"GET /{path.name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{ranges}\r\n"
        connection.sendall(request.encode())
        received = connection.recv(1024)
        end = time.monotonic() + 10
        while not held_open(path.name):  # the head may come before the file is opened
            assert time.monotonic() < end
            time.sleep(0.001)
        if change == "shorter":
            os.truncate(path, 1000)
        elif change == "longer":
            os.truncate(path, 2 * LARGE)
        else:
            path.unlink()
        total = bytearray(received)
        while block := connection.recv(1 << 20):
            total += block
    head, _, body = bytes(total).partition(b"\r\n\r\n")
    promised = int(head.lower().partition(b"content-length: ")[2].split()[0])
    assert len(body) < promised if change == "shorter" else len(body) <= promised
    if change == "removed":
        assert len(body) == promised  # what is open stays readable
    end = time.monotonic() + 10
    while held_open(path.name):
        assert time.monotonic() < end
        time.sleep(0.01)
