"""`configs/clusters/NAME.yaml`: where the workers of a run are, or how they are started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cache.errors import UserError
from pipeline.config.records import Settings, named, read_yaml, validate
from pipeline.console.text import did_you_mean

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class ClusterConfig(Settings):
    """What all kinds of cluster have in common.

    Attributes:
        kind: `local`, `cuda`, `slurm` or `address`.
        project: where the workers find this project's folder, on a disk that they share; the same path by default.
        patience_s: how long a run waits while there is no worker at all.
        tasks_ahead: tasks that wait at each worker beside the one it is at; more hide a slow network and take memory.
    """

    kind: str
    project: Path | None = None
    patience_s: Seconds = 300.0
    tasks_ahead: Annotated[int, Field(ge=0)] = 1


class LocalConfig(ClusterConfig):
    """Worker processes on this machine.

    Attributes:
        workers: processes; one per processor, at most 8, by default.
        memory_per_worker: such as `4GiB`; a worker that takes more is started anew and its task given to another, so
            that one clip cannot take the machine down. No limit by default.
        worker_lost_s: a worker that has not been heard of for so long is given up.
    """

    kind: Literal["local"]
    workers: Count | None = None
    memory_per_worker: str | None = None
    worker_lost_s: Seconds = 300.0


class CudaConfig(ClusterConfig):
    """One worker process for each GPU of this machine.

    Attributes:
        gpus: their numbers or UUIDs; all that CUDA shows by default.
        worker_lost_s: as for `local`.
    """

    kind: Literal["cuda"]
    gpus: list[str | int] | None = None
    worker_lost_s: Seconds = 300.0


class SlurmConfig(ClusterConfig):
    """Workers as SLURM jobs, by dask-jobqueue.

    Attributes:
        jobs: how many.
        cores: of each.
        memory: of each, such as `32GB`.
        walltime: of each, such as `04:00:00`.
        queue: partition.
        account: to be charged.
        gpus: of each job; one worker for each, which sees no other.
        directives: more lines for the head of the job script, such as `--constraint=a100`.
        prologue: shell commands that a job begins with, such as `module load ffmpeg`.
        interface: network interface that the workers reach this machine by, such as `ib0`.
        worker_lost_s: as for `local`.
    """

    kind: Literal["slurm"]
    jobs: Count = 1
    cores: Count
    memory: str
    walltime: str = "01:00:00"
    queue: str | None = None
    account: str | None = None
    gpus: Annotated[int, Field(ge=0)] = 0
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    interface: str | None = None
    worker_lost_s: Seconds = 300.0


class AddressConfig(ClusterConfig):
    """Workers of a scheduler that runs already.

    Attributes:
        address: of the scheduler, such as `tcp://10.0.0.1:8786`; the environment's DASK_SCHEDULER_ADDRESS by default.
        scheduler_file: the file that `dask scheduler --scheduler-file` has written, instead.
        tls_ca: certificate of the authority that signs, where the scheduler wants TLS.
        tls_cert: certificate to show.
        tls_key: its key.
    """

    kind: Literal["address"]
    address: str | None = None
    scheduler_file: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


KINDS: dict[str, type[ClusterConfig]] = {
    "local": LocalConfig,
    "cuda": CudaConfig,
    "slurm": SlurmConfig,
    "address": AddressConfig,
}


def load_cluster(name: str) -> ClusterConfig:
    """Reads `configs/clusters/<name>.yaml`.

    Raises:
        UserError: no such cluster, kind or option.
    """
    path = named("clusters", name)
    data: dict[str, Any] = read_yaml(path)
    kind = str(data.get("kind"))
    if kind not in KINDS:
        raise UserError(f"{path}: no kind of cluster {kind!r}, {did_you_mean(kind, KINDS)}")
    return validate(data, KINDS[kind], path)
