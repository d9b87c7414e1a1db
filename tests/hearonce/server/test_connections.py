"""Clients that are slow, that stop reading, and that leave."""

import socket
import time
from pathlib import Path

import pytest
from server_in_thread import in_thread
from starlette.applications import Starlette
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import Route

from hearonce.server import running
from hearonce.server.command import _listening

SIZE = 64 << 20


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Port of a server in a thread whose patience is short, with a large file."""
    monkeypatch.setattr(running, "HEADERS_S", 0.3)
    monkeypatch.setattr(running, "STALLED_S", 0.5)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(SIZE)
    app = Starlette(
        routes=[
            Route("/large", lambda request: FileResponse(large)),
            Route("/small", lambda request: PlainTextResponse("here")),
        ]
    )
    with in_thread(app) as port:
        yield port


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def answered(connection: socket.socket) -> bool:
    connection.sendall(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b"here"):
        part = connection.recv(1000)
        if not part:
            return False
        answer += part
    return b"200 OK" in answer


def handles_of(name: str) -> int:
    count = 0
    for handle in Path("/proc/self/fd").iterdir():
        try:
            count += handle.readlink().name == name
        except OSError:
            continue
    return count


def until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("begun", (b"", b"GET /small HTTP/1.1\r\nHost: local"))
def test_lines_of_a_request_that_do_not_come_are_not_waited_for(served, begun):
    with connected(served) as connection:
        connection.sendall(begun)
        assert connection.recv(100) == b""


def test_whole_requests_are_answered_one_after_another(served):
    with connected(served) as connection:
        for _ in range(3):
            assert answered(connection)
            time.sleep(0.1)
        connection.sendall(b"GET /small")
        assert connection.recv(100) == b""


def test_an_answer_that_is_not_taken_is_given_up(served):
    with connected(served) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: handles_of("large") == 1)
        until(lambda: handles_of("large") == 0)


def test_clients_that_leave_in_the_middle_leave_nothing_open(served):
    for _ in range(30):
        with connected(served) as connection:
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(1000)
    until(lambda: handles_of("large") == 0)
    with connected(served) as connection:
        assert answered(connection)


def test_answers_are_not_held_back_for_an_acknowledgement():
    with _listening("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # what asyncio sets TCP_NODELAY by
