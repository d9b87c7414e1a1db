"""What runs in the workers of a cluster: they step into the project, and keep what is loaded for later tasks."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.errors import UserError
from pipeline.cluster.same_code import code_here, differences
from pipeline.console.text import visible
from pipeline.encoding import BROKEN_DEVICE

THREADS_VARIABLE = "HEARONCE_WORKER_THREADS"
"""Set by the clusters that hearonce starts: how many processors a worker has to itself."""

_handed_on: set[str] = set()
_kept: dict[str, Any] = {}
_locks: dict[str, threading.Lock] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Site:
    """What a worker must share with the process that asks it.

    Attributes:
        project: the project's folder as the worker sees it.
        folders: other folders that it must see: media, the store.
        environment: variables that decide what a run does.
        code: versions, see `same_code`.
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
        if wrong := differences(there=code_here(), here=self.code):
            raise UserError(
                f"A worker on {host} does not run what this process runs ({wrong}): give both the same environment and "
                "the same code, and start workers anew after a change."
            )
        for name in _handed_on - set(self.environment):  # by another run
            os.environ.pop(name, None)
        _handed_on.update(self.environment)
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


class OtherFiles(UserError):
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
        if any(one in reason for one in BROKEN_DEVICE):  # it would fail all that it is given, and be idle soonest
            print(f"{visible(reason)}: it ends, for another to take its place.", file=sys.stderr, flush=True)
            os._exit(1)
        return Failed(reason)


def kept(name: str, make: Callable[[], Any]) -> Any:
    """What `make` has made for this name in this worker: models are loaded once, however many tasks there are."""
    with _lock:
        lock = _locks.setdefault(name, threading.Lock())
    with lock:
        if name not in _kept:
            _kept.clear()  # of an earlier run: a device has room for one model
            _kept[name] = make()
        return _kept[name]


def threads_here() -> int:
    """Threads that a task may decode in."""
    told = os.environ.get(THREADS_VARIABLE)
    if told:
        return int(told)
    from distributed import get_worker

    return max(1, cores_here() // get_worker().state.nthreads)


def cores_here() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
