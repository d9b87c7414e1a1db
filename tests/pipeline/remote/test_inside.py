"""Redirects into one's own network: real servers on two loopback addresses, of which one stands for a public one."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.media.containers import MediaError
from pipeline.remote import address as inside
from pipeline.remote import download
from pipeline.remote.address import InsideError, RemoteFile, check_address, check_host, kind_of
from pipeline.remote.download import TransferError, fetch

PUBLIC, SECRET = "127.0.0.2", b"credentials of this machine" * 100


@contextmanager
def serving_at(address, answer):
    """A server at an address of the loopback interface; `answer` gives (status, headers, body) for a path."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), "ETag": '"a"', **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def public(monkeypatch):
    """Lets 127.0.0.2 stand for an address of somebody else's."""
    real = inside.kind_of
    monkeypatch.setattr(inside, "kind_of", lambda address: "" if address == PUBLIC else real(address))
    inside._allowed.clear()
    download._down.clear()
    yield
    inside._allowed.clear()


@pytest.fixture
def servers(public):
    """(public server, server of this machine): the first sends whoever asks for `/moved` to the second."""
    with serving_at("127.0.0.1", lambda path: (200, {}, SECRET)) as own:

        def answer(path):
            return (302, {"Location": f"{own}/secret.mp4"}, b"") if path == "/moved.mp4" else (200, {}, b"x" * 1000)

        with serving_at(PUBLIC, answer) as foreign:
            yield foreign, own


def fetched(staging, url):
    with staging.held(RemoteFile(url, "a.mp4")) as staged:
        return staged.path.read_bytes()


def test_a_redirect_into_this_machine_is_refused(staging, servers):
    foreign, _ = servers
    assert fetched(staging, f"{foreign}/fine.mp4") == b"x" * 1000
    with pytest.raises(MediaError, match=r"redirected to 127\.0\.0\.1, a loopback address, which .*moved\.mp4"):
        fetched(staging, f"{foreign}/moved.mp4")


def test_a_listed_address_of_this_machine_is_served(staging, servers):
    _, own = servers
    assert fetched(staging, f"{own}/a.mp4") == SECRET


def test_a_listed_address_of_this_machine_may_redirect_within_it(staging):
    with (
        serving_at("127.0.0.1", lambda path: (200, {}, SECRET)) as target,
        serving_at("127.0.0.1", lambda path: (302, {"Location": f"{target}/b.mp4"}, b"")) as own,
    ):
        assert fetched(staging, f"{own}/a.mp4") == SECRET


def test_a_name_that_changes_its_address_is_refused_at_the_connection(staging, servers, monkeypatch):
    """DNS rebinding: every look-up of ours says that the host is elsewhere, and the connection goes to this machine."""
    _, own = servers
    monkeypatch.setattr(inside, "addresses_of", lambda host: ["93.184.216.34"])
    with pytest.raises(MediaError, match="loopback address"):
        fetched(staging, f"{own}/a.mp4")


def test_downloads_of_checkpoints_are_guarded_in_the_same_way(servers, tmp_path, monkeypatch):
    foreign, own = servers
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    for name in "1234":
        (tmp_path / name).mkdir()
    assert fetch(f"{foreign}/fine.mp4", tmp_path / "1", "a").read_bytes() == b"x" * 1000
    assert fetch(f"{own}/a", tmp_path / "2", "a").read_bytes() == SECRET
    with pytest.raises(TransferError, match=r"redirected to 127\.0\.0\.1, a loopback address"):
        fetch(f"{foreign}/moved.mp4", tmp_path / "3", "a")
    monkeypatch.setattr(inside, "addresses_of", lambda host: ["93.184.216.34"])
    inside._allowed.clear()
    with pytest.raises(TransferError, match="loopback address"):
        fetch(f"{own}/a", tmp_path / "4", "a")


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("93.184.216.34", ""),
        ("2606:2800:220:1:248:1893:25c8:1946", ""),
        ("127.0.0.1", "loopback"),
        ("127.8.9.10", "loopback"),
        ("0.0.0.0", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("2002:a9fe:a9fe::", "link-local"),
        ("10.0.0.1", "private"),
        ("172.16.5.4", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("224.0.0.1", "private"),
    ],
)
def test_kinds_of_addresses(address, kind):
    assert kind_of(address) == kind


def test_numbers_that_stand_for_addresses_are_looked_up():
    for host in ("2130706433", "0x7f.1", "localhost", "127.1"):  # the system reads them all as 127.0.0.1
        with pytest.raises(InsideError, match="loopback"):
            check_host(host, [])
        check_host(host, ["loopback"])
    check_host("no-such-host.invalid", [])
    check_host(None, ["loopback"])


def test_a_proxy_may_lie_inside(monkeypatch):
    with pytest.raises(InsideError):
        check_address("127.0.0.1", [])
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    check_address("127.0.0.1", [])
