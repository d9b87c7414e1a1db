"""`hearonce serve`: the search page and its JSON API, on this machine alone unless there is a token."""

from __future__ import annotations

import socket
from typing import Annotated

import typer

from cache.errors import UserError
from pipeline.console.text import did_you_mean

SHORTEST_TOKEN = 12


def serve_command(
    corpora: Annotated[list[str] | None, typer.Argument(help="Corpora to show; all by default.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; another than this machine needs --token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8383,
    token: Annotated[
        str | None, typer.Option(envvar="HEARONCE_TOKEN", help="Which every user must give, once in a browser.")
    ] = None,
    device: Annotated[str | None, typer.Option(envvar="HEARONCE_DEVICE", help="cpu, cuda, ...")] = None,
) -> None:
    """Search in the browser: a page and a JSON API over everything that is embedded."""
    from hearonce.searching import searcher
    from hearonce.server.guard import hosts_of, is_loopback

    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UserError(f"--token: give at least {SHORTEST_TOKEN} characters, letters and digits.")
    if token is None and not is_loopback(host):
        raise UserError(f"--host {host} can be reached by others: give --token, which they will be asked for.")
    own = searcher(device)
    for name in corpora or ():
        if name not in own.params.corpora:
            raise UserError(f"No corpus {name!r} in params.yaml: {did_you_mean(name, list(own.params.corpora))}")
    from hearonce.server.app import create_app
    from hearonce.server.running import run

    app = create_app(own, corpora or (), hosts_of(host) if is_loopback(host) else None, token)
    with _listening(host, port) as listening:
        address = f"[{host}]" if ":" in host else host
        query = "" if token is None else "?token=TOKEN"
        print(f"Search page: http://{address}:{listening.getsockname()[1]}/{query} (Ctrl-C ends it)", flush=True)
        run(app, listening)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise UserError(f"--host {host}: no address of this machine.") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(256)
    except OSError as error:
        listening.close()
        raise UserError(f"{host}:{port} cannot be listened at ({error.strerror}): choose another --port.") from None
    return listening
