"""Starts the workers that `configs/clusters/` describes, or finds those of a scheduler that runs already."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from pipeline.cluster.config import AddressConfig, ClusterConfig, CudaConfig, LocalConfig, SlurmConfig
from pipeline.cluster.here import cuda_workers, local_workers, scratch
from pipeline.cluster.reaching import reached
from pipeline.cluster.slurm import slurm_workers
from pipeline.monitor.signals import deferred

if TYPE_CHECKING:
    from distributed import Client

SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # `running` decides what is tried again, and with whom
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
        UserError: it cannot be started or reached.
    """
    import dask
    import distributed  # noqa: F401 (sets up its logging, which is then silenced)
    from distributed.utils import silence_logging_cmgr

    settings = dict(SETTINGS)
    if isinstance(config, LocalConfig | CudaConfig | SlurmConfig):
        settings["distributed.scheduler.worker-ttl"] = f"{config.worker_lost_s} s"
    with dask.config.set(settings), silence_logging_cmgr(logging.CRITICAL):  # what goes wrong is told in our own words
        if isinstance(config, AddressConfig):
            with reached(config) as client:
                yield client
        elif isinstance(config, SlurmConfig):
            with _running(slurm_workers, config) as client:
                yield client
        else:
            start = local_workers if isinstance(config, LocalConfig) else cuda_workers
            with scratch(), _running(start, config) as client:
                yield client


@contextmanager
def _running(start: Any, *arguments: Any) -> Iterator[Client]:
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
