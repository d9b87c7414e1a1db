"""The errors a user's mistake or a damaged cache raises: one clear sentence, never a traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_DAMAGED_DISK = (None, errno.EIO, errno.EBADMSG, errno.EILSEQ, getattr(errno, "EUCLEAN", errno.EIO))
_REASONS = {
    errno.EMFILE: "too many files are open: allow more by `ulimit -n 4096` before the command, and run again",
    errno.ENFILE: "too many files are open on this machine: close other programs and run again",
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "your disk quota is used up: free some space and run again",
    errno.EFBIG: "the file would exceed the size that this system or session allows (see `ulimit -f`)",
    errno.EROFS: "the disk is read-only: choose another folder, for example with $HEARONCE_STORE",
    errno.EACCES: "permission is denied: ask the owner for write access or choose another folder",
    errno.EPERM: "permission is denied: ask the owner for write access or choose another folder",
    errno.ENOENT: "it has vanished: was a disk unmounted or a folder deleted? Bring it back and run again",
    errno.EEXIST: "a file stands where a folder is needed: move it away and run again",
    errno.ENOTEMPTY: "a folder with something in it stands there: move it away and run again",
    errno.ENOTDIR: "a file stands where a folder is needed: move it away and run again",
}


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one sentence. The command line prints it and exits with 2."""


@dataclass(frozen=True)
class Damage:
    """One damaged part of a store or artifact.

    Attributes:
        file: the file, relative to the store or artifact.
        rows: first and one-past-last row that cannot be trusted, counted within the segment or artifact; None when
            no row is affected (the file describes rows that are all intact).
        reason: what was found.
        keys: row keys (16 bytes each) of those rows, as far as they are known.
    """

    file: str
    rows: tuple[int, int] | None
    reason: str
    keys: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        if self.rows is None:
            return f"{self.file} {self.reason}"
        first, last = self.rows[0], self.rows[1] - 1
        return f"{self.file} (row{f' {first}' if first == last else f's {first} to {last}'}) {self.reason}"


class DamageError(UserError):
    """Bytes on the disk are not those that were written.

    Attributes:
        damages: every damaged part that was met.
    """

    def __init__(self, damages: Sequence[Damage], where: str = "", remedy: str = "") -> None:
        self.damages = tuple(damages)
        more = f" and {len(self.damages) - 1} more places" if len(self.damages) > 1 else ""
        super().__init__(f"{where}{': ' if where else ''}{self.damages[0]}{more}{': ' if remedy else ''}{remedy}.")


class FalseClaim(DamageError):
    """What a store or file says of itself cannot be true, although its checksums fit: somebody else wrote it so."""


class Unreadable(UserError):
    """Bytes that cannot be read now, which says nothing about what they are: nobody may call them damaged."""


def is_damage(error: OSError) -> bool:
    """Whether a failed read is the fault of the bytes, or of the disk that holds them; permissions are not."""
    return error.errno in _DAMAGED_DISK


def unreadable(subject: object, error: OSError) -> Unreadable:
    """The sentence for a read that the operating system refused."""
    if error.errno in (errno.EACCES, errno.EPERM):
        why = "permission is denied: ask its owner for `chmod -R g+rX` on it (docs/cache.md, Sharing)"
    else:
        why = f"{error.strerror or error}: run again when that is over"
    return Unreadable(f"{subject} cannot be read: {why}.")


class OutOfFiles(UserError):
    """The process may open no more files: no fault of what it wanted to open."""

    def __init__(self) -> None:
        super().__init__(
            "No more files can be opened, for too many are open already: allow more by `ulimit -n 4096` before the "
            "command, or have it read by fewer threads (`--workers`), and run again; what was committed is kept."
        )


def is_out_of_files(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that the process or the machine has no more file descriptors."""
    for _ in range(20):
        if error is None:
            return False
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False


class StoreBusy(UserError):
    """Another process is compacting, collecting or repairing the store; nothing was changed."""

    def __init__(self, store: object) -> None:
        super().__init__(f"{store} is under maintenance by another process: run again when that has finished.")


class WriteError(UserError, OSError):
    """A write that the operating system refused: a sentence for users, and an OSError for those who handle one."""

    def __init__(self, sentence: str, error: OSError) -> None:
        super().__init__(sentence)
        self.errno, self.strerror = error.errno, error.strerror

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def writing(subject: object) -> Iterator[None]:
    """Turns the operating system's refusals to write into one sentence about `subject` (a `WriteError`)."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, UserError):  # not the operating system's, or a sentence already
            raise
        why = _REASONS.get(error.errno, f"{error.strerror or error}")
        raise WriteError(f"{subject} was not written: {why}.", error) from error
