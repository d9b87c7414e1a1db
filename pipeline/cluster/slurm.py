"""Workers as SLURM jobs, by dask-jobqueue."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from cache.errors import UserError
from pipeline.cluster.config import SlurmConfig
from pipeline.cluster.here import threads_environment

OWN_GPU = "pipeline.cluster.own_gpu"


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
    environment |= {f"DASK_DISTRIBUTED__WORKER__MEMORY__{one}": "False" for one in ("TARGET", "SPILL", "PAUSE")}
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
        worker_extra_args=["--nthreads", "1", *(["--preload", OWN_GPU] if processes > 1 else [])],
        scheduler_options={"dashboard_address": ":0"},
        silence_logs=False,
    )
    try:
        for _ in range(config.jobs):  # as `scale` does, which leaves what `sbatch` says to a log
            cluster.worker_spec.update(cluster.new_worker_spec())
        cluster.sync(cluster._correct_state)
    except RuntimeError as error:
        for job in cluster.workers.values():  # `close` cancels those that were submitted, and minds the others' status
            job.status = Status.failed
        cluster.close()
        said = str(error).partition("stderr:")[2] or str(error)
        raise UserError(f"SLURM refuses the jobs ({' '.join(said.split())}): look at the cluster's YAML.") from None
    return cluster
