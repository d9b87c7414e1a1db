"""A cluster as the stages use it: tasks in, results out, a bounded number in flight."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from cache.errors import UserError
from cache.location import STORE_VARIABLE, Store
from pipeline.runner.dask.config import load_cluster
from pipeline.runner.dask.scheduler import WorkerMonitor, started
from pipeline.runner.dask.worker import Failed, Site, check_same_code, code_versions, run_task
from pipeline.runner.run import NotComputed

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
WAIT_S = 0.5
FORWARDED = ("HEARONCE_", "HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE")
"""Beginnings of the environment variables that workers are given. Keys and passwords are not: each has its own."""
SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
MOST_FAILURES = 8
"""So many tasks in a row that end in an unexpected error end the run: it is not the media that are to blame."""
DIED = "every worker that took this on died (out of memory, a fault of the decoder or of the GPU?)"


@dataclass(frozen=True)
class Died:
    """The worker that had a task is gone."""


@dataclass(frozen=True)
class Lost:
    """The connection to the scheduler was lost, and the task with it."""


Outcome = Any | Failed | Died | Lost | UserError


class InFlight(Generic[T]):
    """Keeps each task until its outcome has been taken: results that wait count as in flight.

    Args:
        client: of the scheduler.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._futures: dict[Future, T] = {}
        self._ended: deque[Future] = deque()

    def __len__(self) -> int:
        return len(self._futures)

    def submit(self, task: T, *call: Any) -> None:
        """Hands a task to the cluster; `call` is a function with its arguments."""
        self._futures[self._client.submit(*call, pure=False)] = task

    def take(self, seconds: float) -> tuple[T, Outcome] | None:
        """A task that has ended; None if none does within so many seconds."""
        from distributed import wait

        if not self._ended:
            with suppress(TimeoutError, CancelledError):  # some have been cancelled: the connection was lost
                wait(list(self._futures), timeout=seconds, return_when="FIRST_COMPLETED")
            self._ended.extend(future for future in self._futures if future.status != "pending")
        if not self._ended:
            return None
        future = self._ended.popleft()
        return self._futures.pop(future), _outcome(future)

    def cancel(self) -> None:
        """Nobody wants the rest."""
        if self._futures and self._client.status == "running":
            self._client.cancel(list(self._futures), force=True)


def _outcome(future: Future) -> Outcome:
    """Fetches a result; computed anew elsewhere where its worker has died in the meantime."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return Died()
    except (CancelledError, OSError, TimeoutError):
        return Lost()
    except Exception as error:  # not the task's own, which `run_task` hands back
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return UserError(
        f"A worker or the scheduler cannot run hearonce ({message}): start both in an environment where hearonce is "
        "installed, such as `uv run dask worker ...` in this project."
    )


class Cluster:
    """The workers of a run: started or connected to when there is something to do, ended with the `with` block.

    Args:
        name: in `configs/clusters/`.
        folders: that workers must see beside the project's and the store; those that do not exist locally are left out.

    Attributes:
        name: as given.

    Raises:
        UserError: no such cluster, or its YAML is wrong.
    """

    def __init__(self, name: str, folders: Sequence[Path] = ()) -> None:
        self.name, self._config = name, load_cluster(name)
        self._folders = [*folders, _relative(Store.default().root)]
        self._stack = ExitStack()
        self._opened: tuple[Client, WorkerMonitor, Site] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened = None
        self._stack.__exit__(*error)

    def _open(self) -> tuple[Client, WorkerMonitor, Site]:
        """Connects to the workers and prints the address of the dashboard."""
        if self._opened is None:
            client = self._stack.enter_context(started(self._config))
            monitor = WorkerMonitor(client, self._config.patience_s, self.name)
            while not monitor.threads():
                time.sleep(0.1)
            check_same_code(client, self.name)
            workers = f"{monitor.workers} worker{'s' if monitor.workers > 1 else ''}"
            print(f"cluster {self.name}: {workers}, dashboard {client.dashboard_link}", file=sys.stderr, flush=True)
            project = str(self._config.project or Path.cwd())
            folders = tuple(str(folder) for folder in self._folders if folder.exists())
            self._opened = client, monitor, Site(project, folders, _environment(), code_versions())
        return self._opened

    def run(
        self,
        function: Callable[[Any], Any],
        source: Callable[[], T | None],
        *,
        packed: Callable[[T], Any] = lambda task: task,
        split: Callable[[T], list[T]] = lambda task: [task],
    ) -> Iterator[tuple[T, Any]]:
        """Yields each task with what the function made of it, or with a `NotComputed`, in the order of completion.

        No more tasks are in flight than keep the workers busy, results that have not been taken included, so that
        memory stays bounded however slow the caller is. A task whose worker died is divided; one that cannot be divided
        is tried once more when all else is done and nothing else runs, so that no other is blamed for it.

        Args:
            function: importable in the workers; a `UserError` that it raises ends the run.
            source: the next task; None if there is none now, and none will come once nothing is in flight.
            packed: what is sent of a task.
            split: the parts of a task, or the task alone.

        Raises:
            UserError: the workers cannot do it, the scheduler is gone, or there has been no worker for long.
        """
        client, monitor, site = self._open()
        in_flight: InFlight[T] = InFlight(client)
        retries: deque[T] = deque()
        suspects: deque[T] = deque()
        running_alone = False
        failed_in_a_row = 0

        def submit(task: T) -> None:
            in_flight.submit(task, run_task, function, packed(task), site)

        try:
            while True:
                most = (1 + self._config.tasks_ahead) * monitor.threads()
                while not running_alone and len(in_flight) < most:
                    task = retries.popleft() if retries else source()
                    if task is None:
                        break
                    submit(task)
                if not in_flight and most:
                    if not suspects:
                        return
                    running_alone = True
                    submit(suspects.popleft())
                elif not in_flight:
                    time.sleep(WAIT_S)
                    continue
                if (ended := in_flight.take(WAIT_S)) is None:
                    continue
                task, outcome = ended
                was_alone, running_alone = running_alone, False
                if isinstance(outcome, UserError):
                    raise outcome
                if not isinstance(outcome, Failed | Died | Lost):
                    failed_in_a_row = 0
                    yield task, outcome
                    continue
                if isinstance(outcome, Lost):
                    (suspects if was_alone else retries).append(task)
                    continue
                if isinstance(outcome, Failed):
                    failed_in_a_row += 1
                    if failed_in_a_row >= MOST_FAILURES:
                        raise UserError(
                            f"Cluster {self.name!r}: {failed_in_a_row} tasks in a row failed; the last: "
                            f"{outcome.reason}. What was committed is kept."
                        )
                if was_alone:
                    yield task, NotComputed(outcome.reason if isinstance(outcome, Failed) else DIED)
                elif len(parts := split(task)) > 1:
                    retries.extend(parts)
                else:
                    suspects.append(task)
        finally:
            in_flight.cancel()


@contextmanager
def open_cluster(name: str | None, folders: Sequence[Path] = ()) -> Iterator[Cluster | None]:
    """A cluster to use in the block; None without a name."""
    if name is None:
        yield None
        return
    with Cluster(name, folders) as cluster:
        yield cluster


def _environment() -> dict[str, str]:
    forwarded = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(FORWARDED) and not any(word in name for word in SECRET)
    }
    if forwarded.get(STORE_VARIABLE):
        forwarded[STORE_VARIABLE] = str(_relative(Path(forwarded[STORE_VARIABLE])))
    return forwarded


def _relative(path: Path) -> Path:
    """A path within the project as workers that see the project elsewhere find it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
