"""HowTo100M's captions as JSON, larger than memory: the entries of one object, read one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from cache.errors import UserError

CHUNK = 1 << 20
LARGEST_VALUE = 1 << 27
"""Characters that one entry may take; the captions of a video take some hundred thousand at most."""

_DECODER = json.JSONDecoder()
_WHITE = " \t\r\n"


def json_entries(path: Path, remedy: str, chunk: int = CHUNK) -> Iterator[tuple[str, Any]]:
    """Yields (key, value) of the object that a file holds, in its order.

    Args:
        path: UTF-8.
        remedy: what to do about a file that cannot be read.
        chunk: characters read at a time.

    Raises:
        UserError: the file is missing, cut short, no JSON, or holds something else than an object.
    """
    try:
        with path.open(encoding="utf-8") as file:
            yield from _entries(_Text(file, chunk))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {remedy}.") from None
    except ValueError as error:  # UnicodeDecodeError, too
        raise UserError(f"{path} cannot be read ({error}): {remedy}.") from None


def _entries(text: _Text) -> Iterator[tuple[str, Any]]:
    text.expect("{")
    if text.next() == "}":
        text.expect("}")
    else:
        while True:
            if text.next() != '"':
                raise ValueError(f"found {text.next()!r} where a key should be")
            key = text.value()
            text.expect(":")
            if text.next() not in "{[":  # a number might go on in the next chunk
                raise ValueError(f"{key!r} holds no captions")
            yield key, text.value()
            if text.expect(",", "}") == "}":
                break
    if rest := text.next():
        raise ValueError(f"found {rest!r} behind the end")


class _Text:
    """The text of a file from a place on, as much of it in memory as the value there takes."""

    def __init__(self, file: TextIO, chunk: int) -> None:
        self._file, self._chunk = file, chunk
        self._text, self._at = "", 0

    def next(self) -> str:
        """The next character that is no white space, which stays; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _WHITE:
                    return self._text[self._at]
                self._at += 1
            if not self._more(self._chunk):
                return ""

    def expect(self, *wanted: str) -> str:
        """Takes one of these characters."""
        found = self.next()
        if found not in wanted or not found:
            raise ValueError(f"found {found!r} where {' or '.join(wanted)} should be" if found else "it is cut short")
        self._at += 1
        return found

    def value(self) -> Any:
        """Takes a string, object or array; reads on, twice as much each time, until it is complete."""
        while True:
            try:
                found, self._at = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                length = len(self._text) - self._at
                if length > LARGEST_VALUE:
                    raise ValueError(f"no JSON: {error.msg}") from None
                if not self._more(max(self._chunk, length)):
                    raise ValueError(f"it is cut short, or no JSON: {error.msg}") from None
            else:
                return found

    def _more(self, length: int) -> bool:
        read = self._file.read(length)
        self._text, self._at = self._text[self._at :] + read, 0
        return bool(read)
