"""`hearonce serve`: the search page and its JSON API."""

from __future__ import annotations

import re
import secrets
import socket
from contextlib import suppress
from typing import Annotated

import typer

from cache.errors import UserError
from pipeline.config.params import load_params
from pipeline.console.text import did_you_mean

PLAIN_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,200}")


def serve(
    corpora: Annotated[list[str] | None, typer.Argument(help="Corpora to serve; all by default.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but a loopback one needs --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8383,
    token: Annotated[
        str | None, typer.Option(envvar="HEARONCE_TOKEN", help="Secret that every request needs; `new` makes one.")
    ] = None,
    device: Annotated[str | None, typer.Option(envvar="HEARONCE_DEVICE", help="cpu, cuda, ...")] = None,
) -> None:
    """Open the search page: find clips by text, file, recording or another clip, in a browser."""
    known = list(load_params().corpora)
    for corpus in corpora or ():
        if corpus not in known:
            raise UserError(f"No corpus {corpus!r} in params.yaml: {did_you_mean(corpus, known)}")
    if not known:
        raise UserError("params.yaml lists no corpora: `hearonce init FOLDER` adds your own media.")
    from hearonce.server.guard import is_loopback

    loopback = is_loopback(host)
    if token == "new":
        token = secrets.token_urlsafe(24)
    if not loopback and not token:
        raise UserError(
            f"--host {host} can be reached by others: give --token SECRET (or --token new), or listen on 127.0.0.1."
        )
    if token is not None and not PLAIN_TOKEN.fullmatch(token):
        raise UserError("--token: take 8 to 200 letters, digits, dashes and underscores, or `new`.")
    from hearonce.server.app import create_app
    from hearonce.server.running import run

    listening = _listening(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    print(f"Search page: {address}{f'?token={token}' if token else ''}\nStop it with Ctrl-C.", flush=True)
    with suppress(KeyboardInterrupt):
        run(create_app(corpora or known, token, device, loopback), listening)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # with the protocol named asyncio sets TCP_NODELAY; without, each answer waits 40 ms for an acknowledgement
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)  # who comes before the first answer waits
    except OSError as error:
        raise UserError(f"Cannot listen on {host}:{port} ({error.strerror}): give another --port.") from None
    return listening
