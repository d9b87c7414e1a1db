"""URLs of media: how they are shown without secrets, distinguished and represented by a path."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, unquote, urlsplit

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.+", re.DOTALL)
_URL_AS_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
_SIGNATURE = re.compile(
    r"x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|expires|key-pair-id|policy"
    r"|sig|se|sp|sv|sr|st|spr|skoid|sktid|skt|ske|sks|skv|token|access_token",
    re.IGNORECASE,
)
"""Query parameters that say who may read an object and until when, not which object it is."""


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL. Cheap to send to another process, which finds its own credentials.

    Attributes:
        url: where it lies, as fsspec understands it.
        name: path by which annotations call it; its ending is that of the local copy.
        size: in bytes, None if that is not known.
        version: ETag, or else the time of its last change; empty if that is not known.
    """

    url: str
    name: str
    size: int | None = None
    version: str = ""

    @property
    def identity(self) -> str:
        """Names the object, whatever signature its URL has today (32 hex digits)."""
        kept = self.url
        if is_http(kept):
            parts = urlsplit(kept)
            query = [
                pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not _SIGNATURE.fullmatch(pair[0])
            ]
            kept = repr((parts.scheme, parts.hostname, parts.port, parts.path, query))
        return hashlib.blake2b(kept.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    @property
    def stem(self) -> str:
        """The last part of the name without its ending, as that of a path."""
        return PurePosixPath(self.name).stem

    def is_dir(self) -> bool:
        """False: a folder of frames cannot be remote."""
        return False

    def __str__(self) -> str:
        return shown(self.url)


def is_url(text: str | Path) -> bool:
    """Whether a text is a URL, not a path."""
    return _URL.fullmatch(str(text)) is not None


def scheme(url: str) -> str:
    """`s3`, `https`, ..."""
    return url.partition("://")[0].lower()


def is_http(url: str) -> bool:
    """Whether it is a web address, which may have a query."""
    return scheme(url) in ("http", "https")


def shown(url: str) -> str:
    """The URL for people: without a query, which may be a signature, and without a password."""
    start, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{start}://{host.rpartition('@')[2]}{slash}{re.split('[?#]', path)[0] if is_http(url) else path}"


def location(url: str) -> str:
    """Host and path of a URL, decoded: what it is called by where it is not called otherwise."""
    plain = shown(url).partition("://")[2]
    return unquote(plain) if is_http(url) else plain


def path_of(url: str) -> Path:
    """A path that stands for a URL where only paths can stand; `url_of` gives the URL back.

    Raises:
        ValueError: no path can, or it would show a secret.
    """
    path = Path(url)
    if url != shown(url) or url_of(path) != url:
        raise ValueError("a URL like this one needs a media list: see `hearonce list-media --help`")
    return path


def url_of(path: Path | str) -> str | None:
    """The URL that a path stands for, None if it is a plain path."""
    match = _URL_AS_PATH.fullmatch(str(path))
    return f"{match[1]}://{match[2]}" if match else None


LOOPBACK, LINK_LOCAL, PRIVATE = "loopback", "link-local", "private"
_allowed: dict[str, frozenset[str]] = {}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class InsideError(OSError):
    """A server has sent us to an address that it must not use us to reach."""

    def __init__(self, host: str, kind: str) -> None:
        super().__init__(f"redirected to {host}, a {kind} address")


def kind_of(address: str) -> str:
    """The kind of an IP address: loopback, link-local or private; empty if it is public."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            return kind_of(str(embedded))
    if ip.is_loopback or ip.is_unspecified:
        return LOOPBACK
    if ip.is_link_local:
        return LINK_LOCAL
    return PRIVATE if not ip.is_global or ip.is_multicast else ""


def addresses_of(host: str) -> list[str]:
    """The IP addresses of a host; none if it has no address."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def kinds_of(host: str) -> frozenset[str]:
    """The kinds of the addresses of a host that are not public."""
    return frozenset(kind for one in addresses_of(host) if (kind := kind_of(one)))


def allowed_by(host: str) -> frozenset[str]:
    """What a listed host may redirect to: for as long as this process lasts, from when it first has an address."""
    if host not in _allowed and addresses_of(host):
        _allowed[host] = kinds_of(host)
    return _allowed.get(host, frozenset())


def check_host(host: str | None, allowed: Collection[str]) -> None:
    """Of a request, whether it is the first or follows a redirect.

    Raises:
        InsideError: an address of the host is neither public nor allowed.
    """
    for kind in sorted(kinds_of(host or "") - set(allowed)):
        raise InsideError(host or "", kind)


def check_address(address: str, allowed: Collection[str]) -> None:
    """Of a connection.

    Raises:
        InsideError: the address is neither public, nor allowed, nor that of a proxy.
    """
    kind = kind_of(address)
    if kind and kind not in allowed and address not in proxies():
        raise InsideError(address, kind)


def proxies() -> set[str]:
    """Addresses of the proxies that the environment names; what lies behind them is theirs to guard."""
    hosts = {urlsplit(url if "//" in url else f"//{url}").hostname for url in urllib.request.getproxies().values()}
    return {address for host in hosts if host for address in addresses_of(host)}
