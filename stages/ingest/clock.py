"""Times as people write them."""

from __future__ import annotations

import math
import re

_CLOCK = re.compile(r"(?:(\d{1,9}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,30}))?")
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][+-]?\d{1,3})?")
_COMMA = re.compile(r"(\d{1,30}),(\d{1,30})")
_SHOWN = 40
LARGEST_S = 1e9
"""No medium lasts 31 years."""


def seconds(text: str) -> float:
    """Seconds of `12.5`, `12,5`, `1:02.5`, `01:02:03.250` or `01:02:03,250`.

    Raises:
        ValueError: it is none of these, negative or too large; or a number like `1,500`, which may be 1.5 or 1,500.
    """
    text = text.strip()
    value = math.nan
    if ":" in text:
        if match := _CLOCK.fullmatch(text):
            hours, minutes, whole, fraction = match.groups()
            value = int(hours or 0) * 3600 + int(minutes) * 60 + float(f"{whole}.{fraction or 0}")
    elif _NUMBER.fullmatch(text):
        value = float(text)
    elif match := _COMMA.fullmatch(text):
        whole, fraction = match.groups()
        if len(fraction) == 3 and len(whole) <= 3 and whole.strip("0"):
            raise ValueError(f"{text!r} may be {whole}.{fraction} or {whole}{fraction} seconds: write a decimal point")
        value = float(f"{whole}.{fraction}")
    if not 0 <= value < LARGEST_S:
        shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
        raise ValueError(f"{shown!r} is no time (write seconds, or hh:mm:ss.mmm)")
    return value + 0.0  # not -0
