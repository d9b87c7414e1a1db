"""A cluster as the stages use it: tasks in, results out, a bounded number under way."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from cache.errors import UserError
from cache.location import STORE_VARIABLE, Store
from pipeline.cluster.config import load_cluster
from pipeline.cluster.same_code import check_same_code, code_here
from pipeline.cluster.starting import started
from pipeline.cluster.under_way import Died, Lost, UnderWay
from pipeline.cluster.watching import Watch
from pipeline.cluster.worker import Failed, Site, run_task
from pipeline.row_making import NotMade

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
WAIT_S = 0.5
HANDED_ON = ("HEARONCE_", "HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE")
"""Beginnings of the environment variables that workers are given. Keys and passwords are not: each has its own."""
SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
MOST_FAILURES = 8
"""So many tasks in a row that end in an unexpected error end the run: it is not the media that are to blame."""
DIED = "every worker that took this on died (out of memory, a fault of the decoder or of the GPU?)"


class Cluster:
    """The workers of a run: started or reached when there is something to do, ended with the `with` block.

    Args:
        name: in `configs/clusters/`.
        folders: that workers must see beside the project's and the store; those that are not here are not asked for.

    Attributes:
        name: as given.

    Raises:
        UserError: no such cluster, or its YAML is wrong.
    """

    def __init__(self, name: str, folders: Sequence[Path] = ()) -> None:
        self.name, self._config = name, load_cluster(name)
        self._folders = [*folders, _relative(Store.default().root)]
        self._stack = ExitStack()
        self._used: tuple[Client, Watch, Site] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._used = None
        self._stack.__exit__(*error)

    def _open(self) -> tuple[Client, Watch, Site]:
        """Reaches the workers and says where the dashboard is."""
        if self._used is None:
            client = self._stack.enter_context(started(self._config))
            watch = Watch(client, self._config.patience_s, self.name)
            while not watch.threads():
                time.sleep(0.1)
            check_same_code(client, self.name)
            workers = f"{watch.workers} worker{'s' if watch.workers > 1 else ''}"
            print(f"cluster {self.name}: {workers}, dashboard {client.dashboard_link}", file=sys.stderr, flush=True)
            project = str(self._config.project or Path.cwd())
            seen = tuple(str(one) for one in self._folders if one.exists())
            self._used = client, watch, Site(project, seen, _environment(), code_here())
        return self._used

    def run(
        self,
        function: Callable[[Any], Any],
        source: Callable[[], T | None],
        *,
        packed: Callable[[T], Any] = lambda task: task,
        split: Callable[[T], list[T]] = lambda task: [task],
    ) -> Iterator[tuple[T, Any]]:
        """Yields each task with what the function made of it, or with a `NotMade`, in the order of completion.

        No more tasks are under way than keep the workers busy, results that have not been taken included, so that
        memory stays bounded however slow the caller is. A task whose worker died is divided; one that cannot be divided
        is tried once more when all else is done and nothing else runs, so that no other is blamed for it.

        Args:
            function: importable in the workers; a `UserError` that it raises ends the run.
            source: the next task; None if there is none now, and none will come once nothing is under way.
            packed: what is sent of a task.
            split: the parts of a task, or the task alone.

        Raises:
            UserError: the workers cannot do it, the scheduler is gone, or there has been no worker for long.
        """
        client, watch, site = self._open()
        under_way: UnderWay[T] = UnderWay(client)
        again: deque[T] = deque()
        alone: deque[T] = deque()
        by_itself: list[T] = []
        failed_in_a_row = 0

        def submit(task: T) -> None:
            under_way.submit(task, run_task, function, packed(task), site)

        try:
            while True:
                most = (1 + self._config.tasks_ahead) * watch.threads()
                while not by_itself and len(under_way) < most:
                    task = again.popleft() if again else source()
                    if task is None:
                        break
                    submit(task)
                if not under_way and most:
                    if not alone:
                        return
                    by_itself = [alone.popleft()]
                    submit(by_itself[0])
                elif not under_way:
                    time.sleep(WAIT_S)
                    continue
                if (ended := under_way.take(WAIT_S)) is None:
                    continue
                task, outcome = ended
                was_alone, by_itself = bool(by_itself), []
                if isinstance(outcome, UserError):
                    raise outcome
                if not isinstance(outcome, Failed | Died | Lost):
                    failed_in_a_row = 0
                    yield task, outcome
                    continue
                if isinstance(outcome, Lost):
                    (alone if was_alone else again).append(task)
                    continue
                if isinstance(outcome, Failed):
                    failed_in_a_row += 1
                    if failed_in_a_row >= MOST_FAILURES:
                        raise UserError(
                            f"Cluster {self.name!r}: {failed_in_a_row} tasks in a row failed; the last: "
                            f"{outcome.reason}. What was committed is kept."
                        )
                if was_alone:
                    yield task, NotMade(outcome.reason if isinstance(outcome, Failed) else DIED)
                elif len(parts := split(task)) > 1:
                    again.extend(parts)
                else:
                    alone.append(task)
        finally:
            under_way.cancel()


@contextmanager
def cluster_named(name: str | None, folders: Sequence[Path] = ()) -> Iterator[Cluster | None]:
    """A cluster to use in the block; None without a name."""
    if name is None:
        yield None
        return
    with Cluster(name, folders) as cluster:
        yield cluster


def _environment() -> dict[str, str]:
    found = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(HANDED_ON) and not any(word in name for word in SECRET)
    }
    if found.get(STORE_VARIABLE):
        found[STORE_VARIABLE] = str(_relative(Path(found[STORE_VARIABLE])))
    return found


def _relative(path: Path) -> Path:
    """A path within the project as workers that see the project elsewhere find it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
