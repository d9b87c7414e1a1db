"""Is the scheduler there, and how much can its workers do?"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from cache.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

LOOK_EVERY_S = 1.0
SCHEDULER_LOST_S = 30.0


class Watch:
    """Looks at a cluster now and then.

    Args:
        client: of the scheduler.
        patience_s: how long there may be no worker.
        name: of the cluster, for messages.
    """

    def __init__(self, client: Client, patience_s: float, name: str) -> None:
        self._client, self._patience_s, self._name = client, patience_s, name
        self._workers: dict[str, int] = {}
        self._looked = -LOOK_EVERY_S
        self._seen_scheduler = self._seen_worker = time.monotonic()
        self._told = False

    @property
    def workers(self) -> int:
        """How many workers there were at the last look."""
        return len(self._workers)

    def threads(self) -> int:
        """How many tasks can run at a time; 0 while there is no worker or the scheduler does not answer.

        Raises:
            UserError: it has been so for long, or the connection is closed for good.
        """
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY_S or self._client.status != "running":
            self._look()
            self._looked = now = time.monotonic()
            self._judge(now)
        return sum(self._workers.values())

    def _look(self) -> None:
        self._workers = {}
        if self._client.status != "running":
            return
        try:
            answer = self._client.sync(self._client.scheduler.ncores, workers=None, callback_timeout=SCHEDULER_LOST_S)
        except (OSError, TimeoutError):
            return
        self._workers = dict(answer)
        self._seen_scheduler = time.monotonic()

    def _judge(self, now: float) -> None:
        if self._client.status == "closed" or now - self._seen_scheduler >= SCHEDULER_LOST_S:
            raise UserError(
                f"The scheduler of cluster {self._name!r} does not answer any more; what was committed is kept: run "
                "again when it is back."
            )
        if self._workers:
            self._seen_worker, self._told = now, False
        elif now - self._seen_worker >= self._patience_s:
            raise UserError(
                f"Cluster {self._name!r} has had no worker for {self._patience_s:.0f} s; what was committed is kept: "
                "start workers, or raise `patience_s` in its YAML, and run again."
            )
        elif not self._told and now - self._seen_worker >= LOOK_EVERY_S:
            self._told = True
            print(f"cluster {self._name}: waiting for workers", file=sys.stderr, flush=True)
