"""Tasks that a cluster has been given, and what became of them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cache.errors import UserError
from pipeline.cluster.worker import Failed

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")


@dataclass(frozen=True)
class Died:
    """The worker that had a task is gone."""


@dataclass(frozen=True)
class Lost:
    """The connection to the scheduler was lost, and the task with it."""


Outcome = Any | Failed | Died | Lost | UserError


class UnderWay(Generic[T]):
    """Keeps each task until its outcome has been taken: results that wait count as under way.

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
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return UserError(
        f"A worker or the scheduler cannot run hearonce ({said}): start both in an environment where hearonce is "
        "installed, such as `uv run dask worker ...` in this project."
    )
