"""The scheduler of a cluster: started or connected to, and monitored."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from pipeline.monitor.signals import deferred
from pipeline.runner.dask.config import AddressConfig, ClusterConfig, CudaConfig, LocalConfig, SlurmConfig
from pipeline.runner.dask.workers import cuda_workers, local_workers, scratch, slurm_workers

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 10
POLL_EVERY_S = 1.0
SCHEDULER_LOST_S = 30.0
SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # `Cluster.run` decides what is tried again, and with whom
    "distributed.scheduler.worker-saturation": 1.0,  # what waits for a worker does not die with it
    "distributed.worker.daemon": False,
    "distributed.worker.memory.target": False,  # a worker that nears its limit goes on: results are small, models are
    "distributed.worker.memory.spill": False,  # not results, and one that pauses would do so for good
    "distributed.worker.memory.pause": False,
    "distributed.comm.timeouts.connect": "10s",
    "distributed.admin.large-graph-warning-threshold": "1GB",
}


@contextmanager
def started(config: ClusterConfig) -> Iterator[Client]:
    """A client of the cluster; what was started for it ends with the block.

    Raises:
        UserError: it cannot be started or connected to.
    """
    import dask
    import distributed  # noqa: F401 (sets up its logging, which is then silenced)
    from distributed.utils import silence_logging_cmgr

    settings = dict(SETTINGS)
    if isinstance(config, LocalConfig | CudaConfig | SlurmConfig):
        settings["distributed.scheduler.worker-ttl"] = f"{config.worker_lost_s} s"
    with dask.config.set(settings), silence_logging_cmgr(logging.CRITICAL):  # errors become sentences of our own
        if isinstance(config, AddressConfig):
            with connected(config) as client:
                yield client
        elif isinstance(config, SlurmConfig):
            with _started(slurm_workers, config) as client:
                yield client
        else:
            start = local_workers if isinstance(config, LocalConfig) else cuda_workers
            with scratch(), _started(start, config) as client:
                yield client


@contextmanager
def _started(start: Any, *arguments: Any) -> Iterator[Client]:
    from distributed import Client

    with ExitStack() as stack:
        with deferred(), _without_interrupts():
            cluster = stack.enter_context(start(*arguments))
            client = stack.enter_context(Client(cluster))
        yield client


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Threads and processes that begin in this block, and all that they begin, never hear of Ctrl-C or a closed
    terminal: this one ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # which would lift the block when the first process begins
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def connected(config: AddressConfig) -> Iterator[Client]:
    """A client of the scheduler.

    Raises:
        UserError: it has no address, does not answer, or the certificates cannot be used.
    """
    from distributed import Client

    address = _address(config)
    security = _security(config)
    try:
        _probe(address)
        client = Client(address, timeout=CONNECT_S, **security)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(
            f"The Dask scheduler at {address} cannot be reached ({reason}): is it running, and is this its address?"
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


def _probe(address: str) -> None:
    """Dask's client tries a port where nobody listens until its time is up, and waits for ever where nobody speaks."""
    from distributed.comm.addressing import parse_address, parse_host_port

    scheme, location = parse_address(address)
    if scheme in ("tcp", "tls"):
        host, port = parse_host_port(location, 8786)
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


class WorkerMonitor:
    """Asks the scheduler now and then how many workers there are.

    Args:
        client: of the scheduler.
        patience_s: how long there may be no worker.
        name: of the cluster, for messages.
    """

    def __init__(self, client: Client, patience_s: float, name: str) -> None:
        self._client, self._patience_s, self._name = client, patience_s, name
        self._workers: dict[str, int] = {}
        self._polled = -POLL_EVERY_S
        self._scheduler_answered = self._had_worker = time.monotonic()
        self._announced = False

    @property
    def workers(self) -> int:
        """How many workers there were at the last poll."""
        return len(self._workers)

    def threads(self) -> int:
        """How many tasks can run at a time; 0 while there is no worker or the scheduler does not answer.

        Raises:
            UserError: it has been so for long, or the connection is closed for good.
        """
        now = time.monotonic()
        if now - self._polled >= POLL_EVERY_S or self._client.status != "running":
            self._poll()
            self._polled = now = time.monotonic()
            self._check_patience(now)
        return sum(self._workers.values())

    def _poll(self) -> None:
        self._workers = {}
        if self._client.status != "running":
            return
        try:
            answer = self._client.sync(self._client.scheduler.ncores, workers=None, callback_timeout=SCHEDULER_LOST_S)
        except (OSError, TimeoutError):
            return
        self._workers = dict(answer)
        self._scheduler_answered = time.monotonic()

    def _check_patience(self, now: float) -> None:
        if self._client.status == "closed" or now - self._scheduler_answered >= SCHEDULER_LOST_S:
            raise UserError(
                f"The scheduler of cluster {self._name!r} does not answer any more; what was committed is kept: run "
                "again when it is back."
            )
        if self._workers:
            self._had_worker, self._announced = now, False
        elif now - self._had_worker >= self._patience_s:
            raise UserError(
                f"Cluster {self._name!r} has had no worker for {self._patience_s:.0f} s; what was committed is kept: "
                "start workers, or raise `patience_s` in its YAML, and run again."
            )
        elif not self._announced and now - self._had_worker >= POLL_EVERY_S:
            self._announced = True
            print(f"cluster {self._name}: waiting for workers", file=sys.stderr, flush=True)
