"""`checkpoints.lock.yaml`: which bytes each fetched file had when it was first used. A team commits it."""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from pydantic import BaseModel, Field

from cache.durable import new_file
from cache.errors import UserError, writing
from pipeline.config.records import Settings, read_yaml, validate

LOCK = Path("checkpoints.lock.yaml")
HEADER = "# Written by `hearonce checkpoints fetch`: the bytes that each file had at first. Commit it.\n"


class Record(Settings):
    """The bytes of a file.

    Attributes:
        sha256: of all of it, 64 hex digits.
        size: in bytes.
        name: of the catalogue entry it belongs to.
        source: where it came from.
        date: day of its first use, UTC.
    """

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    name: str
    source: str
    date: datetime.date


class _Lock(BaseModel):
    files: dict[str, Record]


def recorded() -> dict[str, Record]:
    """All records, by path relative to the project.

    Raises:
        UserError: the lock file is damaged.
    """
    if not LOCK.exists():
        return {}
    return validate({"files": read_yaml(LOCK)}, _Lock, LOCK).files


def measured(path: Path, name: str, source: str) -> Record:
    """The record of a file of an entry as it lies on the disk; reads all of it.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    today = datetime.datetime.now(datetime.UTC).date()
    return Record(sha256=sha256, size=size, name=name, source=source, date=today)


def same(one: Record, other: Record) -> bool:
    """Whether two records are of the same bytes."""
    return (one.sha256, one.size) == (other.sha256, other.size)


def record(files: dict[Path, Record]) -> None:
    """Adds or replaces records; other processes may do the same at the same time.

    Raises:
        UserError: the lock file is damaged or cannot be written.
    """
    with _alone(LOCK.absolute().parent):
        before = recorded()
        merged = before | {path.as_posix(): one for path, one in files.items()}
        if merged == before:
            return
        plain = {path: merged[path].model_dump() for path in sorted(merged)}
        with new_file(LOCK) as temporary:
            text = HEADER + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=1000)
            temporary.write_text(text, encoding="utf-8")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process on this machine holds the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A folder beside a target for what is unfinished, kept from run to run until the target is there.

    Raises:
        UserError: another process is fetching the same file, or the folder cannot be made.
    """
    folder = target.parent / ".fetching" / target.name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{target} is being fetched by another process: wait until that has finished.") from None
        yield folder
    finally:
        os.close(descriptor)
        for one in (folder, folder.parent, target.parent):
            with suppress(OSError):  # gone, or something is in it
                one.rmdir()
