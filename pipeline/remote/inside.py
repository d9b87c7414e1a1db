"""Addresses that only machines of one network, or this machine alone, can reach.

A media list names servers of others. One of them could redirect to `http://127.0.0.1/...` or to the address at which
clouds give their machines credentials, and read through this process what it cannot reach itself. So such addresses are
refused, unless the listed address is of the same kind: a list that names servers of one's own network may be served
there. What counts is the address that is connected to, so that a name which changes its address gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from collections.abc import Collection
from urllib.parse import urlsplit

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
