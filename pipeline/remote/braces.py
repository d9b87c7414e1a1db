"""Names of many shards in one: `{00000..01234}` and `{a,b}`, as shells and the webdataset library expand them."""

from __future__ import annotations

import re
from itertools import product

from cache.errors import UserError

MOST = 1_000_000
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{},]*(?:,[^{},]*)+)\}")


def has_braces(text: str) -> bool:
    """Whether a text stands for several."""
    return _BRACES.search(text) is not None


def expanded(text: str) -> list[str]:
    """All texts that one stands for, in order; leading zeros of a range are kept.

    Raises:
        UserError: a range ends before it begins, or these are more than a million.
    """
    parts: list[list[str]] = []
    at, count = 0, 1
    for found in _BRACES.finditer(text):
        options = _range(text, found[1], found[2]) if found[1] else found[3].split(",")
        parts += [[text[at : found.start()]], options]
        at, count = found.end(), count * len(options)
        if count > MOST:
            raise UserError(f"{text} stands for more than {MOST} names.")
    return ["".join(one) for one in product(*parts, [text[at:]])]


def _range(text: str, first: str, last: str) -> list[str]:
    if int(last) < int(first):
        raise UserError(f"{text}: the range {first}..{last} ends before it begins.")
    if int(last) - int(first) >= MOST:
        raise UserError(f"{text} stands for more than {MOST} names.")
    width = max(len(first), len(last)) if "0" in (first[0], last[0]) and len(first + last) > 2 else 0
    return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
