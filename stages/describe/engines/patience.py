"""When to ask an endpoint again: back-off with jitter, and the pauses that it asks for."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

MOST_BACKOFF_S = 60.0


def asked_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` (seconds or a date) or `retry-after-ms` asks for; None if neither does.

    A date counts from the endpoint's own `Date`, if it says so: its clock need not be ours.
    """
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        if "retry-after" not in headers:
            return None
        value = headers["retry-after"].strip()
        if value.replace(".", "", 1).isdigit():
            return float(value)
        until = parsedate_to_datetime(value).timestamp()
        now = parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
        return max(0.0, until - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


@dataclass
class Patience:
    """Waits of one run. A pause that the endpoint asks of one request holds for all.

    Attributes:
        backoff_s: before the second attempt; doubled for each further one.
        dice: draws the jitter, so that requests that failed together do not return together.
    """

    backoff_s: float
    dice: random.Random = field(default_factory=random.Random)
    _not_before: float = 0.0

    def wait_s(self, attempt: int, pause_s: float | None) -> float:
        """Seconds until a request that has failed `attempt` times is sent again."""
        if pause_s is not None:
            self._not_before = max(self._not_before, time.monotonic() + pause_s)
            return pause_s + self.dice.uniform(0.0, self.backoff_s)
        return self.dice.uniform(0.5, 1.0) * min(MOST_BACKOFF_S, self.backoff_s * 2 ** (attempt - 1))

    def pause_left_s(self) -> float:
        """Seconds until any request may be sent."""
        return max(0.0, self._not_before - time.monotonic())
