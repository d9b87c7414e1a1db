"""Google Drive on the loopback interface: an HTTPS proxy that answers in its place, certificate included."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from misbehaving_server import Handler, Site, serving

HOSTS = ("drive.google.com", "drive.usercontent.google.com", "docs.google.com")
CONFIRM = (
    '<html><body><form id="download-form" action="https://drive.usercontent.google.com/download">'
    '<input type="hidden" name="id" value="{id}"><input type="hidden" name="confirm" value="t"></form></body></html>'
)
QUOTA = '<html><body><p class="uc-error-subcaption">Too many users have viewed this file recently.</p></body></html>'


def certificate(folder: Path) -> Path:
    """A certificate for Google's hosts, with its key in the same file."""
    path = folder / "drive.pem"
    names = ",".join(f"DNS:{host}" for host in HOSTS)
    key = folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=drive"
    more = ["-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(path)]
    subprocess.run([*command.split(), *more], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


@cache
def _context(path: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


class DriveHandler(Handler):
    """Files are at `/ID`, folders at `/folder/ID` (their HTML listing); each file asks for confirmation first."""

    pem = ""

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.connection = _context(self.pem).wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        wanted = parse_qs(url.query).get("id", [""])[0]
        if url.path == "/embeddedfolderview":
            page = self.site.files.get(f"/folder/{wanted}")
            return self.answer(200 if page else 404, page or b"", {"Content-Type": "text/html"})
        if self.site.always.get(f"/{wanted}") == "quota":
            return self.answer(200, QUOTA.encode(), {"Content-Type": "text/html; charset=utf-8"})
        if url.path == "/uc" and f"/{wanted}" in self.site.files:
            return self.answer(200, CONFIRM.format(id=wanted).encode(), {"Content-Type": "text/html; charset=utf-8"})
        self.path = f"/{wanted}"
        self.site.headers.setdefault(self.path, {})["Content-Disposition"] = 'attachment; filename="x.bin"'
        return super().do_GET()


def listing(files: dict[str, str]) -> bytes:
    """The page of a folder: ids by name."""
    links = "".join(f'<a href="https://drive.google.com/file/d/{one}/view">{name}</a>' for name, one in files.items())
    return f"<html><head><title>shared</title></head><body>{links}</body></html>".encode()


@contextmanager
def drive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Has requests of this process to Google Drive answered here."""
    pem = certificate(folder)
    with serving(type("Bound", (DriveHandler,), {"pem": str(pem)})) as site:
        monkeypatch.setenv("HTTPS_PROXY", site.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
        for name in ("NO_PROXY", "no_proxy", "https_proxy", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        yield site
