"""What runs in the workers of a cluster: in the project's folder, with the same code, each model loaded once."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from pipeline.console.text import visible
from pipeline.monitor.device import processors
from pipeline.runner.batches import BROKEN_DEVICE

if TYPE_CHECKING:
    from distributed import Client

THREADS_VARIABLE = "HEARONCE_WORKER_THREADS"
"""Set by the clusters that hearonce starts: how many processors a worker has to itself."""

_forwarded: set[str] = set()
_loaded: dict[str, Any] = {}
_locks: dict[str, threading.Lock] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Site:
    """What a worker must share with the process that asks it.

    Attributes:
        project: the project's folder as the worker sees it.
        folders: other folders that it must see: media, the store.
        environment: variables that decide what a run does.
        code: see `code_versions`.
    """

    project: str
    folders: tuple[str, ...]
    environment: Mapping[str, str]
    code: Mapping[str, str]

    def enter(self) -> None:
        """Makes the worker see what the run sees; relative paths begin at the project's folder.

        Raises:
            UserError: a folder is not there, or the worker runs other code.
        """
        host = os.uname().nodename
        if wrong := differences(there=code_versions(), here=self.code):
            raise UserError(
                f"A worker on {host} does not run what this process runs ({wrong}): give both the same environment and "
                "the same code, and start workers anew after a change."
            )
        for name in _forwarded - set(self.environment):  # by another run
            os.environ.pop(name, None)
        _forwarded.update(self.environment)
        os.environ.update(self.environment)
        try:
            if os.path.realpath(os.getcwd()) != os.path.realpath(self.project):
                os.chdir(self.project)
        except OSError as error:
            raise UserError(
                f"A worker on {host} does not see the project folder {self.project} ({error.strerror}): it must lie on "
                "a disk that all workers share; where they see it under another path, say so by `project:` in the "
                "cluster's YAML."
            ) from None
        for folder in self.folders:
            if not Path(folder).exists():
                raise UserError(
                    f"A worker on {host} does not see {folder}: media and store must lie on disks that all workers "
                    "share, under the same path."
                )


class FilesDiffer(UserError):
    """A model's files are not those that the run was planned with."""

    def __init__(self) -> None:
        super().__init__(
            f"The model's files on {os.uname().nodename} are not those that this run began with: let all workers see "
            "the same checkpoints."
        )


@dataclass(frozen=True)
class Failed:
    """A task that ended in an error nobody expected.

    Attributes:
        reason: in one sentence.
    """

    reason: str


def run_task(function: Callable[[Any], Any], task: Any, site: Site) -> Any:
    """What a worker does with a task: the function's result, or what there is instead."""
    try:
        site.enter()
        return function(task)
    except UserError as error:
        return UserError(str(error))
    except Exception as error:
        reason = f"a worker on {os.uname().nodename} failed: {type(error).__name__}: {' '.join(str(error).split())}"
        if any(sign in reason for sign in BROKEN_DEVICE):  # it would fail all that it is given, and be idle soonest
            print(f"{visible(reason)}: it ends, for another to take its place.", file=sys.stderr, flush=True)
            os._exit(1)
        return Failed(reason)


def loaded_once(name: str, load: Callable[[], Any]) -> Any:
    """What `load` has returned for this name in this worker: models are loaded once, however many tasks there are."""
    with _lock:
        lock = _locks.setdefault(name, threading.Lock())
    with lock:
        if name not in _loaded:
            _loaded.clear()  # of an earlier run: a device has room for one model
            _loaded[name] = load()
        return _loaded[name]


def threads_per_task() -> int:
    """Threads that a task may decode in."""
    set_by_cluster = os.environ.get(THREADS_VARIABLE)
    if set_by_cluster:
        return int(set_by_cluster)
    from distributed import get_worker

    return max(1, processors() // get_worker().state.nthreads)


PACKAGES = ("torch", "torchaudio", "transformers", "timm", "numpy", "av", "soxr", "dask", "distributed", "polars")


@lru_cache(1)  # what a worker has imported stays, whatever happens to the files
def code_versions() -> Mapping[str, str]:
    """Versions of what computes rows, and a digest of hearonce's own code."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        try:
            found[package] = version(package).partition("+")[0]  # 2.11.0+cpu and 2.11.0+cu128 are one version
        except PackageNotFoundError:
            found[package] = "none"
    digest = hashlib.blake2b(digest_size=8)
    root = Path(__file__).parents[3]
    for path in sorted(file for part in ("cache", "pipeline", "stages") for file in (root / part).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return {**found, "hearonce": digest.hexdigest()}


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """In what two differ; empty if in nothing."""
    return "; ".join(
        f"{name} {there.get(name)} there, {here[name]} here" for name in here if there.get(name) != here[name]
    )


def check_same_code(client: Client, name: str) -> None:
    """Asks the scheduler and every worker what they run. Workers that come later say so with their first task.

    Raises:
        UserError: one lacks the package, or a worker differs in a version.
    """
    try:
        client.run_on_scheduler(code_versions)
    except Exception as error:
        raise _cannot_run(f"The scheduler of cluster {name!r}", error, "dask scheduler") from None
    try:
        answers = client.run(code_versions, on_error="return")
    except Exception as error:  # a worker could not even read the question
        answers = {"": error}
    for worker, there in answers.items():
        who = f"Worker {worker} of cluster {name!r}" if worker else f"A worker of cluster {name!r}"
        if isinstance(there, BaseException):
            raise _cannot_run(who, there, "dask worker")
        if wrong := differences(there, code_versions()):
            raise UserError(
                f"{who} does not run what this process runs ({wrong}): give both the same environment and the same "
                "code, and start workers anew after a change."
            )


def _cannot_run(who: str, error: BaseException, command: str) -> UserError:
    message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return UserError(
        f"{who} cannot run hearonce ({message}): start it in an environment where hearonce is installed, such as "
        f"`uv run {command} ...` in this project."
    )


def dask_setup(worker: Any) -> None:
    """Called when a worker begins, before anything touches a GPU. `dask worker --nworkers` numbers names: `NAME-2`."""
    visible_gpus = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    number = re.search(r"-(\d+)$", str(worker.name))
    if number and len(visible_gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpus[int(number[1]) % len(visible_gpus)]
