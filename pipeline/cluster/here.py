"""Worker processes on this machine: one per processor, or one per GPU."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cache.errors import UserError
from pipeline.cluster.config import CudaConfig, LocalConfig
from pipeline.cluster.worker import THREADS_VARIABLE, cores_here

MOST_LOCAL_WORKERS = 8
DASHBOARD = "127.0.0.1:0"


def local_workers(config: LocalConfig) -> Any:
    """Starts worker processes on this machine."""
    from distributed import Nanny

    cores = cores_here()
    count = config.workers or min(cores, MOST_LOCAL_WORKERS)
    options = {"memory_limit": config.memory_per_worker or 0, "env": threads_environment(max(1, cores // count))}
    return _watched({i: (Nanny, options) for i in range(count)})


def cuda_workers(config: CudaConfig) -> Any:
    """Starts a worker for each GPU, which sees no other.

    Raises:
        UserError: there is no GPU.
    """
    from distributed import Nanny

    gpus = [str(one) for one in (visible_gpus() if config.gpus is None else config.gpus)]
    if not gpus:
        raise UserError("A cluster of kind cuda wants GPUs, and CUDA shows none here: use `--cluster local`.")
    environment = threads_environment(max(1, cores_here() // len(gpus)))
    workers = {
        f"gpu-{gpu}": (Nanny, {"memory_limit": 0, "env": {**environment, "CUDA_VISIBLE_DEVICES": gpu}}) for gpu in gpus
    }
    return _watched(workers)


def _watched(workers: dict[Any, tuple[type, dict[str, Any]]]) -> Any:
    """A scheduler in this process, and workers that are started anew when they die."""
    import dask
    from distributed import Scheduler, SpecCluster

    common = {"nthreads": 1, "host": "127.0.0.1"}
    with dask.config.set({"distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical"}):
        return SpecCluster(
            workers={name: {"cls": cls, "options": {**common, **options}} for name, (cls, options) in workers.items()},
            scheduler={"cls": Scheduler, "options": {"dashboard_address": DASHBOARD, "host": "127.0.0.1", "port": 0}},
        )


@contextmanager
def scratch() -> Iterator[None]:
    """A folder for what workers write beside their results; gone with the block, killed workers or not."""
    import dask

    with tempfile.TemporaryDirectory(prefix="hearonce-", ignore_cleanup_errors=True) as folder:
        with dask.config.set({"temporary-directory": folder}):
            yield


def threads_environment(count: int) -> dict[str, str]:
    """A worker's environment: its share of the processors, and threads that do not wait by spinning."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", THREADS_VARIABLE)
    return {**dict.fromkeys(names, str(count)), "OMP_WAIT_POLICY": "PASSIVE"}


def visible_gpus() -> list[str]:
    """What CUDA shows to this process."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [one for one in told.split(",") if one]
    import torch

    return [str(one) for one in range(torch.cuda.device_count())]
