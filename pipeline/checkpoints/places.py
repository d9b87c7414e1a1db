"""What goes wrong at a place where a file is published."""

from __future__ import annotations


class PlaceError(Exception):
    """A file cannot be had from a place now; the reason is part of a sentence.

    Attributes:
        absent: the place answers, but has no such file.
    """

    def __init__(self, reason: str, absent: bool = False) -> None:
        super().__init__(" ".join(reason.split()).rstrip(". "))
        self.absent = absent


def root(error: BaseException) -> str:
    """The innermost reason of an error, in one line."""
    while (inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = inner
    return str(getattr(error, "strerror", None) or error).split("\n")[0] or type(error).__name__
