"""A cluster as the stages use it: tasks in, results out, a bounded number under way."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cache.errors import UserError
from pipeline.cluster.config import load_cluster
from pipeline.cluster.same_code import check_same_code
from pipeline.cluster.starting import started
from pipeline.cluster.worker import step_into
from pipeline.row_making import NotMade

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
LOOK_EVERY_S = 2.0
SCHEDULER_LOST_S = 30.0
HANDED_ON = ("HEARONCE_", "HF_", "OMP_WAIT_POLICY")
"""Beginnings of the environment variables that workers are given. Keys and passwords are not: each has its own."""


class Cluster:
    """Runs tasks on the workers of a cluster.

    Args:
        client: of the scheduler.
        name: of the cluster, for messages.
        project: the project's folder as the workers see it.
        tasks_ahead: tasks that wait at each worker.
        patience_s: how long to wait while there is no worker.
    """

    def __init__(self, client: Client, name: str, project: str, tasks_ahead: int, patience_s: float) -> None:
        self.client = client
        self._name, self._project = name, project
        self._tasks_ahead, self._patience_s = tasks_ahead, patience_s
        self._environment = {
            name: value for name, value in os.environ.items() if name.startswith(HANDED_ON) and "KEY" not in name
        }

    def run(
        self, function: Callable[[Any], Any], tasks: deque[T], packed: Callable[[T], Any] = lambda task: task
    ) -> Iterator[tuple[T, Any]]:
        """Yields each task with what the function made of it, or with a `NotMade`, in the order of completion.

        No more tasks are under way than keep the workers busy, so that results do not pile up; tasks may be added while
        this runs. A worker that dies costs the tasks it had: others get them.

        Args:
            function: importable in the workers; a `UserError` that it raises ends the run.
            tasks: are taken from the left.
            packed: what is sent of a task.

        Raises:
            UserError: the scheduler is gone, or there has been no worker for long.
        """
        under_way = _UnderWay[T](self.client)
        workers = _Workers(self.client, self._patience_s, self._name)
        try:
            while tasks or under_way.futures:
                most = (1 + self._tasks_ahead) * max(1, workers.count())
                while tasks and len(under_way.futures) < most:
                    task = tasks.popleft()
                    under_way.submit(task, _run, function, packed(task), self._project, self._environment)
                yield from under_way.done(LOOK_EVERY_S)
        finally:
            under_way.cancel()


class _UnderWay(Generic[T]):
    """Tasks that the cluster has been given."""

    def __init__(self, client: Client) -> None:
        self.futures: dict[Future, T] = {}
        self._client = client

    def submit(self, task: T, *call: Any) -> None:
        self.futures[self._client.submit(*call, pure=False)] = task

    def done(self, seconds: float) -> Iterator[tuple[T, Any]]:
        """Waits so long for any to end; yields those that have."""
        from distributed import wait

        try:
            ended = wait(list(self.futures), timeout=seconds, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return
        for future in ended:
            if future.status == "cancelled":  # the client has lost the scheduler, which `_Workers` tells
                continue
            task = self.futures.pop(future)
            yield task, _result(future)

    def cancel(self) -> None:
        """Nobody wants the rest."""
        if self.futures and self._client.status == "running":
            self._client.cancel(list(self.futures), force=True)


class _Workers:
    """How many workers there are; counted now and then."""

    def __init__(self, client: Client, patience_s: float, name: str) -> None:
        self._client, self._patience_s, self._name = client, patience_s, name
        self._count, self._counted = 0, -LOOK_EVERY_S
        self._seen_scheduler = self._seen_worker = time.monotonic()
        self._told = False

    def count(self) -> int:
        """Raises UserError when there has been none, or no scheduler, for long."""
        now = time.monotonic()
        if now - self._counted < LOOK_EVERY_S:
            return self._count
        self._counted = now
        try:
            self._count = len(self._client.nthreads()) if self._client.status == "running" else -1
        except (OSError, TimeoutError):
            self._count = -1
        if self._count >= 0:
            self._seen_scheduler = now
        elif now - self._seen_scheduler >= SCHEDULER_LOST_S or self._client.status == "closed":
            raise UserError(
                f"The scheduler of cluster {self._name!r} does not answer any more; what was committed is kept: run "
                "again when it is back."
            )
        if self._count > 0:
            self._seen_worker, self._told = now, False
        elif now - self._seen_worker >= self._patience_s:
            raise UserError(
                f"Cluster {self._name!r} has had no worker for {self._patience_s:.0f} s; what was committed is kept: "
                "start workers, or raise `patience_s` in its YAML, and run again."
            )
        elif not self._told and now - self._seen_worker >= LOOK_EVERY_S:
            self._told = True
            print(f"cluster {self._name}: waiting for workers", file=sys.stderr, flush=True)
        return self._count


@contextmanager
def open_cluster(name: str) -> Iterator[Cluster]:
    """Starts or reaches a cluster and says where its dashboard is.

    Args:
        name: in `configs/clusters/`.

    Raises:
        UserError: it cannot be used: unreachable, or its workers lack the package or run other code.
    """
    config = load_cluster(name)
    project = str(config.project or Path.cwd())
    with started(config) as client:
        workers = _Workers(client, config.patience_s, name)
        while workers.count() <= 0:
            time.sleep(0.2)
        check_same_code(client, name)
        print(f"cluster {name}: {workers.count()} workers, dashboard {client.dashboard_link}", file=sys.stderr)
        sys.stderr.flush()
        yield Cluster(client, name, project, config.tasks_ahead, config.patience_s)


def _run(function: Callable[[Any], Any], task: Any, project: str, environment: dict[str, str]) -> Any:
    """Runs in a worker."""
    step_into(project, environment)
    return function(task)


def _result(future: Future) -> Any:
    from distributed import KilledWorker

    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, UserError):
        raise error
    if isinstance(error, KilledWorker):
        return NotMade("every worker that took this on died (out of memory, or a fault of the decoder?)")
    return NotMade(f"the worker failed: {type(error).__name__}: {' '.join(str(error).split())}")
