"""A scheduler that runs already."""

from __future__ import annotations

import os
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

    address = config.address or os.environ.get("DASK_SCHEDULER_ADDRESS")
    place: dict[str, Any] = {"address": address}
    if config.scheduler_file:
        if not config.scheduler_file.is_file():
            raise UserError(f"There is no scheduler file {config.scheduler_file}: has `dask scheduler` been started?")
        place = {"scheduler_file": str(config.scheduler_file)}
    elif not address:
        raise UserError(
            "A cluster of kind address has no address: name it in its YAML (`address: tcp://HOST:8786`) or set the "
            "environment variable DASK_SCHEDULER_ADDRESS."
        )
    where = str(config.scheduler_file or address)
    try:
        client = Client(timeout=CONNECT_S, **place, **_security(config))
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"The Dask scheduler at {where} cannot be reached ({said}): is it running, and is this its address?"
        ) from None
    with client:
        yield client


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
