"""Endpoints whose answers have no end, swell when they are decompressed, or come a byte at a time."""

import gzip
import json
import threading
import time
import tracemalloc
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from language_server import caption_of
from waiting import FAR_OFF_S

from stages.describe.engine import EndpointLost
from stages.describe.exchange import Exchange
from stages.describe.prompts import question

ANSWER = json.dumps({"choices": [{"message": {"content": '{"description": "water runs"}'}}]}).encode()
BOMB, DEFLATED = (pack(b" " * 100_000_000) for pack in (gzip.compress, zlib.compress))


class Handler(BaseHTTPRequestHandler):
    """Does what the model's name says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        caption_of(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        try:
            getattr(self, self.server.fault)()
        except OSError:  # the client has had enough
            self.close_connection = True

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def without_end(self):
        self.head(200 if self.server.status is None else self.server.status, Connection="close")
        while not self.server.over.is_set():
            self.wfile.write(b" " * (1 << 16))
        self.close_connection = True

    def chunks_without_end(self):
        self.head(Transfer_Encoding="chunked")
        while not self.server.over.is_set():
            self.wfile.write(b"10000\r\n" + b" " * (1 << 16) + b"\r\n")

    def send(self, body, encoding):
        self.head(Content_Encoding=encoding, Content_Length=len(body))
        self.wfile.write(body)

    def gzip_bomb(self):
        self.send(BOMB, "gzip")

    def deflate_bomb(self):
        self.send(DEFLATED, "deflate")

    def error_bomb(self):
        self.head(500, Content_Encoding="gzip", Content_Length=len(BOMB))
        self.wfile.write(BOMB)

    def unasked(self):
        self.send(ANSWER, "br")

    def twice(self):
        self.send(gzip.compress(BOMB), "gzip, gzip")

    def damaged(self):
        self.send(gzip.compress(ANSWER)[:-6], "gzip")

    def zipped(self):
        self.send(gzip.compress(ANSWER), "gzip")

    def deflated(self):
        self.send(zlib.compress(ANSWER), "deflate")

    def odd_encoding(self):
        self.head(Content_Type="application/json; charset=zlib_codec", Content_Length=len(ANSWER))
        self.wfile.write(ANSWER)

    def odd_error(self):
        self.head(500, Content_Type="text/plain; charset=rot13", Content_Length=3)
        self.wfile.write(b"abc")

    def cookies(self):
        self.head(Set_Cookie=f"a=b; Max-Age={'9' * 400}", Content_Length=len(ANSWER))
        self.wfile.write(ANSWER)

    def marked(self):
        self.head(Content_Length=len(ANSWER) + 3)
        self.wfile.write(b"\xef\xbb\xbf" + ANSWER)

    def nested(self):
        self.head(Content_Length=500_000)
        self.wfile.write(b"[" * 500_000)

    def slow_headers(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.drip(b"X-Slow: 1\r\n" * 1000)

    def interim(self):
        while not self.server.over.wait(0.02):
            self.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")

    def slow_body(self):
        self.head(Content_Length=100_000)
        self.drip(b" " * 100_000)

    def drip(self, data):
        for one in data:
            if self.server.over.wait(0.02):
                return
            self.wfile.write(bytes([one]))

    def headers_without_end(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server.over.is_set():
            self.wfile.write(b"X-More: " + b"y" * 10_000 + b"\r\n")


@contextmanager
def bad_endpoint(corpora, fault, status=None, **endpoint):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    server.fault, server.status, server.over = fault, status, threading.Event()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    corpora.add("mine", ["wash pan"])
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    corpora.config(endpoint={"base_url": url, "attempts": 1, **endpoint})
    try:
        yield
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("fault", ["without_end", "chunks_without_end", "gzip_bomb", "deflate_bomb", "error_bomb"])
def test_a_body_is_bounded_on_its_way_and_decompressed(corpora, fault):
    with bad_endpoint(corpora, fault, max_answer_mb=1.0, timeout_s=FAR_OFF_S):
        tracemalloc.start()
        with pytest.raises(EndpointLost, match=r"the answer has more than 1 MB \(`max_answer_mb` under `endpoint:`\)"):
            corpora.run()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40e6


def test_an_error_without_end_is_bounded_too(corpora):
    with bad_endpoint(corpora, "without_end", status=503, max_answer_mb=1.0, timeout_s=FAR_OFF_S):
        with pytest.raises(EndpointLost, match="more than 1 MB"):
            corpora.run()


@pytest.mark.parametrize("fault", ["slow_headers", "interim", "slow_body"])
def test_the_time_out_holds_in_all_however_steadily_bytes_come(corpora, fault):
    with bad_endpoint(corpora, fault, timeout_s=0.5), pytest.raises(EndpointLost, match=r"no answer within 0\.5 s"):
        corpora.run()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("unasked", "the answer is compressed as 'br', which was not asked for"),
        ("twice", "the answer is compressed as 'gzip, gzip'"),
        ("damaged", "the compressed answer is cut short"),
        ("headers_without_end", "the connection failed"),
        ("nested", "the answer is nested too deeply|no chat completion"),
        ("odd_error", "status 500, abc"),
    ],
)
def test_other_faults_of_an_answer_are_said(corpora, fault, says):
    with bad_endpoint(corpora, fault, timeout_s=FAR_OFF_S), pytest.raises(EndpointLost, match=says):
        corpora.run()


@pytest.mark.parametrize("fault", ["zipped", "deflated"])
def test_compressed_answers_are_read(corpora, fault):
    with bad_endpoint(corpora, fault):
        corpora.run()
        assert corpora.texts() == {"described-fake:c0": "water runs"}


@pytest.mark.parametrize(
    "secret", ["sk-tell-nobody-0123456789", "aaaaaaaaaaaaaaaaaaaaaaaaaaab", "k\\\\ey-with\\slashes"]
)
@pytest.mark.parametrize("piece", ["a", "\\", "k\\", "s\\\\k", "\\u00", "a\\u0061", "sk-tell-nobody-012345678\\"])
def test_the_key_is_looked_for_in_time_that_grows_with_the_text(secret, piece):
    from types import SimpleNamespace

    from stages.describe.config import DescriptionConfig

    exchange = Exchange(SimpleNamespace(base_url=""), DescriptionConfig(model="m"), secret, True)
    text = piece * (400_000 // len(piece))
    began = time.process_time()
    exchange._clean(text, None)
    exchange._clean(text)
    assert time.process_time() - began < 5  # ten minutes and more where each place is looked at from each
    written = secret.replace("\\", "\\\\"), "".join(f"\\\\u{ord(letter):04X}" for letter in secret)
    for one in (secret, *written):
        assert exchange._clean(f"it says {one}!", None) == "it says [key]!"
    assert question(text)
