"""A scheduler that runs already."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from pipeline.cluster.config import AddressConfig

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 10


@contextmanager
def reached(config: AddressConfig) -> Iterator[Client]:
    """A client of the scheduler.

    Raises:
        UserError: it has no address, does not answer, or the certificates cannot be used.
    """
    from distributed import Client

    address = _address(config)
    security = _security(config)
    try:
        _knock(address)
        client = Client(address, timeout=CONNECT_S, **security)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        said = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(
            f"The Dask scheduler at {address} cannot be reached ({said}): is it running, and is this its address?"
        ) from None
    with client:
        yield client


def _address(config: AddressConfig) -> str:
    if config.scheduler_file is not None:
        try:
            return str(json.loads(config.scheduler_file.read_text())["address"])
        except OSError:
            raise UserError(
                f"There is no scheduler file {config.scheduler_file}: has `dask scheduler --scheduler-file` been "
                "started, in a folder that is seen here?"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{config.scheduler_file} is no scheduler file: `dask scheduler --scheduler-file` writes one."
            ) from None
    address = config.address or os.environ.get("DASK_SCHEDULER_ADDRESS")
    if not address:
        raise UserError(
            "A cluster of kind address has no address: name it in its YAML (`address: tcp://HOST:8786`) or set the "
            "environment variable DASK_SCHEDULER_ADDRESS."
        )
    return address


def _knock(address: str) -> None:
    """Dask's client tries a port where nobody listens until its time is up, and waits for ever where nobody speaks."""
    from distributed.comm.addressing import parse_address, parse_host_port

    scheme, place = parse_address(address)
    if scheme in ("tcp", "tls"):
        host, port = parse_host_port(place, 8786)
        with socket.create_connection((host, port), timeout=CONNECT_S) as connection:
            if scheme == "tcp" and not connection.recv(1):  # a scheduler speaks first
                raise OSError("the connection was closed: does it want TLS?")


def _security(config: AddressConfig) -> dict[str, Any]:
    from distributed.security import Security

    files = {"tls_ca_file": config.tls_ca, "tls_client_cert": config.tls_cert, "tls_client_key": config.tls_key}
    given = {name: path for name, path in files.items() if path is not None}
    for path in given.values():
        if not path.is_file():
            raise UserError(f"There is no file {path}, which the cluster's YAML names for TLS.")
    if not given:
        return {}
    return {"security": Security(require_encryption=True, **{name: str(path) for name, path in given.items()})}
