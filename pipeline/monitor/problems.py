"""The problems table: what could not be processed and why. One bad file never stops a run unless it is strict."""

from __future__ import annotations

import codecs
import errno
import logging
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern

import polars as pl

from cache.errors import DamageError, OutOfFiles, UserError, is_out_of_files
from cache.tables import PROBLEMS, write_table
from pipeline.media.containers import MediaError
from pipeline.monitor import signals
from pipeline.monitor.events import event
from pipeline.monitor.signals import Stopped, check

MOST_LOGGED = 1000
"""Problems of a stage that are in its log; all are in its table."""


MOST_LETTERS = 500
"""Of a reason."""

_OF_THE_RUN = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "your disk quota is used up: free some space and run again",
}
"""What the operating system says that applies to every other item, too."""

EXIT_ERROR = 1
EXIT_USER_ERROR = 2
EXIT_PROBLEMS = 3
EXIT_STRICT = 4


class ItemError(Exception):
    """Why there is nothing of one item, in one sentence."""


def problem_of(error: Exception) -> str:
    """Why one item (medium, clip, caption, row, file) could not be processed, for the problems table.

    This is where it is decided what is the fault of one item and what ends the run. Whatever a reader, decoder or
    encoder raises over one item is the fault of that item, so that the others go on.

    Raises:
        UserError: the run cannot go on: the disk is full, settings are wrong, the run is strict.
        Interrupted, Stopped: the run is to end.
    """
    if isinstance(error, Stopped):
        check()
        raise error
    if isinstance(error, UserError) and not isinstance(error, DamageError):
        raise error
    if is_out_of_files(error):
        raise OutOfFiles from error
    if isinstance(error, OSError) and error.errno in _OF_THE_RUN:
        raise UserError(f"The run cannot go on: {_OF_THE_RUN[error.errno]}.") from error
    return _reason(error)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "a link to itself"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, UserError):
        text = str(error.strerror)
    else:
        text = " ".join(str(error).split())
        if not isinstance(error, MediaError | ItemError | UserError):
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 3]}..."


def written_out(text: str | Path) -> str:
    r"""A text in which bytes of a file name that are no UTF-8 are written as `\xe9`, so that it can be stored."""
    return str(text).encode("utf-8", "written-out").decode()


def _as_escapes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    codes = map(ord, error.object[error.start : error.end])
    escapes = [f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code < 0xDD00 else f"\\u{code:04x}" for code in codes]
    return "".join(escapes), error.end


codecs.register_error("written-out", _as_escapes)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that could not be processed, or only in part.

    Attributes:
        stage: name of the stage in `dvc.yaml`.
        id: clip, caption or media id.
        path: the file, as the user named it; empty for a caption.
        reason: one short sentence.
    """

    stage: str
    id: str
    path: str
    reason: str


class StrictStop(UserError):
    """A problem in a strict run."""


@dataclass
class Problems:
    """Collects problems of one stage.

    Attributes:
        stage: name of the stage.
        strict: the first problem raises `StrictStop`.
    """

    stage: str
    strict: bool = False
    found: list[Problem] = field(default_factory=list)

    def add(self, id: str, path: str | Path, reason: str) -> None:
        """Records a problem.

        Raises:
            StrictStop: the run is strict.
        """
        id, path, reason = (written_out(text) for text in (id, path, reason))
        if len(self.found) < MOST_LOGGED:
            event("problem", logging.WARNING, stage=self.stage, id=id, path=path, reason=reason)
        if self.strict:
            raise StrictStop(f"{self.stage}: {path or id}: {reason} (strict run).")
        self.found.append(Problem(self.stage, id, intern(path), intern(reason)))

    def __len__(self) -> int:
        return len(self.found)

    def write(self, path: Path) -> None:
        """Writes the table, ordered by id and reason, so that the same problems give the same bytes."""
        columns = {name: [getattr(problem, name) for problem in self.found] for name in PROBLEMS}
        write_table(
            pl.DataFrame(columns, dict(PROBLEMS)).sort("id", "path", "reason", maintain_order=True), PROBLEMS, path
        )


def exit_code_of(error: BaseException | None) -> int:
    """The exit code of a command that ended with an error, or with none."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return signals.exit_code()
    if isinstance(error, UserError):
        return EXIT_STRICT if isinstance(error, StrictStop) else EXIT_USER_ERROR
    return EXIT_ERROR
