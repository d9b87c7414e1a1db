"""A real HTTP server on loopback that speaks as OpenAI's chat completions do, and misbehaves on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "sk-tell-nobody-0123456789"
LEVELS = ("low", "moderate", "high")


def description_of(caption: str) -> str:
    return f"one hears {' '.join(caption.split())[:200]}"


def level_of(caption: str) -> str:
    return LEVELS[len(caption) % 3]


class LanguageServer(ThreadingHTTPServer):
    """Answers each caption in its own way, unless a fault is due.

    Attributes:
        requests: bodies of all requests, in order of arrival.
        headers: of all requests.
        faults: by caption, what to do instead of answering, one after another: a status (with headers and body), or
            `hang`, `drip`, `cut off`, `garbage`, `html`, or a dictionary that replaces parts of the answer's choice.
        refuses_schema: answers 400 to a request with a JSON schema.
        pause_s: before each answer.
        most_at_once: the most requests that were under way together.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.faults: dict[str, list[Any]] = {}
        self.refuses_schema = False
        self.usage = True
        self.pause_s = 0.0
        self.most_at_once = 0
        self.under_way = 0
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def asked(self, task: str | None = None) -> list[str]:
        """Captions of all requests."""
        return [caption_of(one) for one in self.requests if task is None or task_of(one) == task]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up in the middle is part of the tests


def caption_of(request: dict[str, Any]) -> str:
    return json.loads(request["messages"][-1]["content"])["caption"]


def task_of(request: dict[str, Any]) -> str:
    return "relevancy" if '"relevancy"' in request["messages"][0]["content"] else "description"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LanguageServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        caption, task = caption_of(request), task_of(request)
        server = self.server
        with server.lock:
            server.requests.append(request)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            due = server.faults.get(caption)
            fault = due.pop(0) if due else None
            server.under_way += 1
            server.most_at_once = max(server.most_at_once, server.under_way)
        try:
            time.sleep(server.pause_s)
            if server.refuses_schema and "response_format" in request:
                self._send(400, {"error": {"message": "response_format is not supported"}})
            else:
                self._answer(request, caption, task, fault)
        finally:
            with server.lock:
                server.under_way -= 1

    def _answer(self, request: dict[str, Any], caption: str, task: str, fault: Any) -> None:
        value = description_of(caption) if task == "description" else level_of(caption)
        message: dict[str, Any] = {"role": "assistant", "content": json.dumps({task: value})}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
        body: dict[str, Any] = {"id": "1", "object": "chat.completion", "model": request["model"], "choices": [choice]}
        if self.server.usage:
            body["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        if isinstance(fault, dict):
            choice |= fault
        if isinstance(fault, tuple):
            status, headers, content = fault
            self._send(status, content, headers)
        elif fault == "hang":
            self.server.released.wait(10)
        elif fault == "drip":
            data = json.dumps(body).encode()
            self._begin(200, len(data))
            for letter in data:
                if self.server.released.wait(0.05):
                    return
                self.wfile.write(bytes([letter]))
        elif fault == "cut off":
            data = json.dumps(body).encode()
            self._begin(200, len(data))
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
        elif fault == "garbage":
            self._begin(200, 64)
            self.wfile.write(bytes(range(128, 192)))
        elif fault == "html":
            data = b"<html>Bad gateway</html>"
            self._begin(200, len(data), "text/html")
            self.wfile.write(data)
        else:
            self._send(200, body)

    def _send(self, status: int, content: Any, headers: dict[str, Any] | None = None) -> None:
        data = json.dumps(content).encode()
        self._begin(status, len(data), headers=headers)
        self.wfile.write(data)

    def _begin(
        self, status: int, length: int, kind: str = "application/json", headers: dict[str, Any] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value() if callable(value) else value)
        self.end_headers()


@contextmanager
def serving(server: LanguageServer) -> Iterator[LanguageServer]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def content(value: object) -> dict:
    """A fault: other words of the model."""
    return {"message": {"role": "assistant", "content": value if isinstance(value, str) else json.dumps(value)}}


if __name__ == "__main__":
    import sys

    with LanguageServer(int(sys.argv[1])) as one:
        print(f"answering at {one.url}", flush=True)
        one.serve_forever()
