"""Times as people write them."""

from __future__ import annotations

import math
import re

_CLOCK = re.compile(r"^(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d+))?$")


def seconds(text: str) -> float:
    """Seconds of `12.5`, `1:02.5`, `01:02:03.250` or `01:02:03,250`.

    Raises:
        ValueError: it is none of these, negative or not finite.
    """
    text = text.strip()
    match = _CLOCK.match(text)
    if match:
        hours, minutes, whole, fraction = match.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(f"{whole}.{fraction or 0}")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text!r} is no time (write seconds, or hh:mm:ss.mmm)")
    return value
