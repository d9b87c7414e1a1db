"""Starts the workers that `configs/clusters/` describes, or finds those of a scheduler that runs already."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from pipeline.cluster.config import AddressConfig, ClusterConfig, CudaConfig, LocalConfig, SlurmConfig
from pipeline.cluster.worker import THREADS_VARIABLE

if TYPE_CHECKING:
    from distributed import Client

MOST_LOCAL_WORKERS = 8
DEATHS = 2
"""So many workers may die over a task before it is given up; a bad file would kill them all one by one."""


@contextmanager
def started(config: ClusterConfig) -> Iterator[Client]:
    """A client of the cluster; what was started for it ends with the block.

    Raises:
        UserError: it cannot be started or reached.
    """
    import dask

    settings = {
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.worker.daemon": False,
        "distributed.comm.timeouts.connect": "10s",
        "distributed.admin.log-format": "%(message)s",
        "logging": {"distributed": "critical"},  # what goes wrong is said in our own words, file by file
    }
    if not isinstance(config, AddressConfig):
        settings["distributed.scheduler.worker-ttl"] = f"{config.worker_lost_s} s"  # type: ignore[attr-defined]
    with dask.config.set(settings):
        if isinstance(config, LocalConfig):
            yield from _own(_local(config))
        elif isinstance(config, CudaConfig):
            yield from _own(_cuda(config))
        elif isinstance(config, SlurmConfig):
            yield from _own(_slurm(config))
        else:
            assert isinstance(config, AddressConfig)
            with _reached(config) as client:
                yield client


def _own(cluster: Any) -> Iterator[Client]:
    from distributed import Client

    with cluster, Client(cluster) as client:
        yield client


def _local(config: LocalConfig) -> Any:
    from distributed import LocalCluster

    cores = _cores()
    workers = config.workers or min(cores, MOST_LOCAL_WORKERS)
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=config.memory_per_worker or 0,
        dashboard_address=":0",
        env=_threads(max(1, cores // workers)),
        silence_logs=False,
    )


def _cuda(config: CudaConfig) -> Any:
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = [str(one) for one in (_visible_gpus() if config.gpus is None else config.gpus)]
    if not gpus:
        raise UserError("A cluster of kind cuda wants GPUs, and CUDA shows none here: use `--cluster local`.")
    threads = max(1, _cores() // len(gpus))
    workers = {
        f"gpu-{gpu}": {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "memory_limit": 0,
                "env": {**_threads(threads), "CUDA_VISIBLE_DEVICES": gpu},
                "silence_logs": False,
            },
        }
        for gpu in gpus
    }
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0", "host": "127.0.0.1", "port": 0}}
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=False)


def _slurm(config: SlurmConfig) -> Any:
    import shutil

    from dask_jobqueue import SLURMCluster

    if shutil.which("sbatch") is None:
        raise UserError("A cluster of kind slurm wants the command `sbatch`, and there is none here: log in to SLURM.")
    processes = max(1, config.gpus)
    cluster = SLURMCluster(
        cores=config.cores,
        processes=processes,
        memory=config.memory,
        walltime=config.walltime,
        queue=config.queue,
        account=config.account,
        interface=config.interface,
        python=sys.executable,
        job_extra_directives=[*([f"--gpus={config.gpus}"] if config.gpus else []), *config.directives],
        job_script_prologue=[
            *config.prologue,
            *(f"export {name}={value}" for name, value in _threads(max(1, config.cores // processes)).items()),
        ],
        worker_extra_args=["--nthreads", "1"],
        scheduler_options={"dashboard_address": ":0"},
    )
    cluster.scale(jobs=config.jobs)
    return cluster


@contextmanager
def _reached(config: AddressConfig) -> Iterator[Client]:
    from distributed import Client
    from distributed.security import Security

    address = config.address or os.environ.get("DASK_SCHEDULER_ADDRESS")
    place: dict[str, Any] = {"scheduler_file": str(config.scheduler_file)} if config.scheduler_file else {}
    if not place and not address:
        raise UserError(
            "A cluster of kind address has no address: name it in its YAML (`address: tcp://HOST:8786`) or set the "
            "environment variable DASK_SCHEDULER_ADDRESS."
        )
    if config.scheduler_file and not config.scheduler_file.is_file():
        raise UserError(f"There is no scheduler file {config.scheduler_file}: has `dask scheduler` been started?")
    tls = {name: str(value) for name in config.WITH_TLS if (value := getattr(config, name)) is not None}
    security = Security(
        require_encryption=True,
        tls_ca_file=tls.get("tls_ca"),
        tls_client_cert=tls.get("tls_cert"),
        tls_client_key=tls.get("tls_key"),
    )
    where = str(config.scheduler_file or address)
    try:
        client = Client(None if place else address, timeout=10, **place, **({"security": security} if tls else {}))
    except (OSError, TimeoutError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"The Dask scheduler at {where} cannot be reached ({said}): is it running, and is this its address?"
        ) from None
    with client:
        yield client


def _threads(count: int) -> dict[str, str]:
    """A worker's environment: its share of the processors, and threads that do not wait by spinning."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", THREADS_VARIABLE)
    return {**dict.fromkeys(names, str(count)), "OMP_WAIT_POLICY": "PASSIVE"}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _visible_gpus() -> list[str]:
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [one for one in told.split(",") if one]
    import torch

    return [str(one) for one in range(torch.cuda.device_count())]
