"""What runs in the workers of a cluster: they step into the project, and keep what is loaded for later tasks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from cache.errors import UserError

THREADS_VARIABLE = "HEARONCE_WORKER_THREADS"
"""Set by the clusters that hearonce starts: how many processors a worker has to itself."""

_kept: dict[str, Any] = {}
_locks: dict[str, threading.Lock] = {}
_lock = threading.Lock()


def step_into(project: str, environment: Mapping[str, str]) -> None:
    """Makes a worker see what the run sees: the project's folder, where relative paths begin, and its settings.

    Raises:
        UserError: the folder is not there.
    """
    os.environ.update(environment)
    if os.path.realpath(os.getcwd()) == os.path.realpath(project):
        return
    try:
        os.chdir(project)
    except OSError as error:
        raise UserError(
            f"Worker on {os.uname().nodename} does not see the project folder {project} ({error.strerror}): it must "
            "lie on a disk that all workers share; where they see it under another path, say so by `project:` in the "
            "cluster's YAML."
        ) from None


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

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // get_worker().state.nthreads)
