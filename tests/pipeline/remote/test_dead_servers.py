"""Servers that are dead, hang up or speak nonsense: one sentence, without the query, and no traceback on the side."""

import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

CODE = """
import gc, sys
from pipeline.media.containers import MediaError
from pipeline.remote import download
from pipeline.remote.address import RemoteFile
from pipeline.remote.staging import Staging
download.PAUSE_S = 0.01
for url in sys.argv[1:]:
    try:
        with Staging.default().held(RemoteFile(url, 'a.mp4', 1000, 'v')):
            pass
    except MediaError as error:
        print(error)
gc.collect()
"""


@contextmanager
def server(answer):
    """Says the same to everybody, and hangs up; None: nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def serve():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
            yield port
            return
    yield port


@pytest.mark.parametrize(
    "answer",
    [None, b"", b"\xff\xfe nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ncut"],
    ids=["nobody", "hangs up", "nonsense", "cut"],
)
def test_one_sentence_and_no_query(project, monkeypatch, answer):
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    with server(answer) as port:
        environment = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_MAX_ATTEMPTS": "1"}
        environment |= {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "never-shown-0123"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
        urls = [f"http://me:pass-word@127.0.0.1:{port}/a.mp4?X-Amz-Signature=never-shown"]
        if answer is None:
            urls.append("s3://bucket/a.mp4")
        done = subprocess.run([sys.executable, "-c", CODE, *urls], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert len(done.stdout.splitlines()) == len(urls)
    assert "never-shown" not in done.stdout and "pass-word" not in done.stdout and "127.0.0.1" in done.stdout
