"""Text for people: control characters made visible, numbers of things, and suggestions for misspelt names."""

from __future__ import annotations

import difflib
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_JOINERS = "\u200c\u200d"  # between letters of some scripts, and between the parts of an emoji
_BREAKS = "\n\t"
_FORMAT = (
    "\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0001\U000e0020-\U000e007f"
)  # of the categories Cf (but for the joiners), Zl and Zp
_CONTROL = re.compile(f"[\0-\x1f\x7f-\x9f\ud800-\udfff{_FORMAT}]")
_BUT_BREAKS = re.compile(f"[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_FORMAT}]")
_IN_JSON = re.compile(f"[\x7f-\x9f\ud800-\udfff{_FORMAT}]")  # the others are escaped by JSON itself


def visible(text: object, breaks: bool = False) -> str:
    r"""The text with `\x1b`, `\n`, `\u202e` and the like where the characters stood.

    Args:
        text: anything with a text.
        breaks: leave line feeds and tabs.
    """
    return (_BUT_BREAKS if breaks else _CONTROL).sub(_escape, str(text))


def visible_json(value: Any, **how: Any) -> str:
    """`json.dumps` with such characters as JSON's own escapes: another spelling of the same value."""
    return _IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1].replace("\x7f", "\\u007f"), json.dumps(value, **how))


@contextmanager
def visible_streams() -> Iterator[None]:
    """Within the block, what is printed to standard output and error is `visible`, line feeds and tabs left."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Visible(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Visible(io.TextIOBase):
    """A text stream in front of another.

    Attributes:
        rich_proxied_file: where rich writes, which looks for this name.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.rich_proxied_file = getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> int:
        self._stream.write(visible(text, breaks=True))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """The stream behind stays open: it is not ours."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self._stream.encoding)

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return getattr(self._stream, "errors", None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _escape(found: re.Match[str]) -> str:
    if "\udc80" <= found[0] <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(found[0]) - 0xDC00:02x}"
    return found[0].encode("unicode_escape").decode()


def counted(n: int, thing: str, things: str | None = None) -> str:
    """A number and what it counts.

    Args:
        n: how many.
        thing: name of one.
        things: name of several; `thing` with an s by default.
    """
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known word, or all known ones when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(known) or 'none'}."
