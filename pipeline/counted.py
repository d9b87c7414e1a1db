"""Numbers of things in sentences for people: `1 file`, `2 files`, `12,000 files`."""

from __future__ import annotations


def counted(n: int, thing: str, things: str | None = None) -> str:
    """A number and what it counts.

    Args:
        n: how many.
        thing: name of one.
        things: name of several; `thing` with an s by default.
    """
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"
