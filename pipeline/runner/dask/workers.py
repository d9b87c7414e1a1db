"""Worker processes that a run starts: one per processor or GPU of this machine, or SLURM jobs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cache.errors import UserError
from pipeline.monitor.device import processors
from pipeline.runner.dask.config import CudaConfig, LocalConfig, SlurmConfig
from pipeline.runner.dask.worker import THREADS_VARIABLE

MOST_LOCAL_WORKERS = 8
DASHBOARD = "127.0.0.1:0"
PRELOAD = "pipeline.runner.dask.worker"
"""Gives each worker of a job its own GPU (`dask_setup`)."""


def local_workers(config: LocalConfig) -> Any:
    """Starts worker processes on this machine."""
    from distributed import Nanny

    cores = processors()
    count = config.workers or min(cores, MOST_LOCAL_WORKERS)
    options = {"memory_limit": config.memory_per_worker or 0, "env": threads_environment(max(1, cores // count))}
    return _supervised({i: (Nanny, options) for i in range(count)})


def cuda_workers(config: CudaConfig) -> Any:
    """Starts a worker for each GPU, which sees no other.

    Raises:
        UserError: there is no GPU.
    """
    from distributed import Nanny

    gpus = [str(gpu) for gpu in (visible_gpus() if config.gpus is None else config.gpus)]
    if not gpus:
        raise UserError("A cluster of kind cuda wants GPUs, and CUDA shows none here: use `--cluster local`.")
    environment = threads_environment(max(1, processors() // len(gpus)))
    workers = {
        f"gpu-{gpu}": (Nanny, {"memory_limit": 0, "env": {**environment, "CUDA_VISIBLE_DEVICES": gpu}}) for gpu in gpus
    }
    return _supervised(workers)


def _supervised(workers: dict[Any, tuple[type, dict[str, Any]]]) -> Any:
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
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu]
    import torch

    return [str(gpu) for gpu in range(torch.cuda.device_count())]


def slurm_workers(config: SlurmConfig) -> Any:
    """Submits the jobs; each has a worker, or one for each of its GPUs.

    Raises:
        UserError: there is no SLURM here, or it refuses the jobs.
    """
    from dask_jobqueue import SLURMCluster
    from distributed.core import Status

    if shutil.which("sbatch") is None:
        raise UserError("A cluster of kind slurm wants the command `sbatch`, and there is none here: log in to SLURM.")
    processes = max(1, config.gpus)
    environment = threads_environment(max(1, config.cores // processes))
    environment |= {f"DASK_DISTRIBUTED__WORKER__MEMORY__{limit}": "False" for limit in ("TARGET", "SPILL", "PAUSE")}
    cluster = SLURMCluster(
        cores=config.cores,
        processes=processes,
        memory=config.memory,
        walltime=config.walltime,
        queue=config.queue,
        account=config.account,
        interface=config.interface,
        python=sys.executable,
        job_name="hearonce",
        job_extra_directives=[*([f"--gpus={config.gpus}"] if config.gpus else []), *config.directives],
        job_script_prologue=[*config.prologue, *(f"export {name}={value}" for name, value in environment.items())],
        worker_extra_args=["--nthreads", "1", *(["--preload", PRELOAD] if processes > 1 else [])],
        scheduler_options={"dashboard_address": ":0"},
        silence_logs=False,
    )
    try:
        for _ in range(config.jobs):  # as `scale` does, which leaves what `sbatch` says to a log
            cluster.worker_spec.update(cluster.new_worker_spec())
        cluster.sync(cluster._correct_state)
    except RuntimeError as error:
        for job in cluster.workers.values():  # `close` cancels those that were submitted, and checks the others' status
            job.status = Status.failed
        cluster.close()
        message = str(error).partition("stderr:")[2] or str(error)
        raise UserError(f"SLURM refuses the jobs ({' '.join(message.split())}): check the cluster's YAML.") from None
    return cluster
