"""What a command leaves with."""

from __future__ import annotations

from cache.errors import UserError
from pipeline.operations import interruption
from pipeline.problems import StrictStop

EXIT_ERROR = 1
EXIT_USER_ERROR = 2
EXIT_PROBLEMS = 3
EXIT_STRICT = 4
EXIT_INTERRUPTED = interruption.EXIT_INTERRUPTED


def exit_code_of(error: BaseException | None) -> int:
    """The exit code of a command that ended with an error, or with none."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return interruption.exit_code()
    if isinstance(error, UserError):
        return EXIT_STRICT if isinstance(error, StrictStop) else EXIT_USER_ERROR
    return EXIT_ERROR
