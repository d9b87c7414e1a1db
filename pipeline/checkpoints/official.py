"""Official files as encoders see them: where `hearonce checkpoints fetch` puts them, and what to say when they lack."""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import BaseModel, Field

from cache.durable import new_file
from cache.errors import UserError, writing
from pipeline.checkpoints.catalogue import CATALOGUE, Entry, load_catalogue
from pipeline.checkpoints.unpack import is_archive, unpacked
from pipeline.config import layout
from pipeline.config.records import Settings, read_yaml, validate


def existing(path: Path) -> Path:
    """The path of a checkpoint, if something is there.

    Raises:
        UserError: nothing is; says how to get it.
    """
    if not path.exists():
        raise UserError(f"{not_found(path)}.")
    return path


def not_found(path: Path) -> str:
    """`checkpoint not found: PATH`, with the command that fetches it if it is an official file or folder."""
    if training := layout.training_of(path):
        return f"checkpoint not found: {path}: run `dvc repro`, or `hearonce train {training}`, which makes it"
    name = catalogued(path)
    unpacked = " --unpack" if name and _made_by_unpacking(path.absolute(), _entries()[name]) else ""
    if unpacked and path.parent.is_dir() and not any(path.parent.glob(f"*/{path.name}")):
        there = ", ".join(sorted(one.name for one in path.parent.iterdir()))
        return f"checkpoint not found: {path}: name the right file in the encoder's YAML, the archive had {there}"
    remedy = (
        f"run `hearonce checkpoints fetch {name}{unpacked}`"
        if name
        else "correct the path in the encoder's YAML (`hearonce checkpoints list` has the official files)"
    )
    return f"checkpoint not found: {path}: {remedy}"


def catalogued(path: Path) -> str | None:
    """The catalogue's name of the file or folder that belongs at a path, None if it has none."""
    wanted = path.absolute()
    for name, entry in _entries().items():
        place = entry.path.absolute()
        inside = entry.folder is not None and place in wanted.parents
        if wanted == place or inside or _made_by_unpacking(wanted, entry):
            return name
    return None


def fetch_command(names: Iterable[str]) -> str:
    """The command that fetches catalogue entries, and unpacks those that are archives."""
    entries = _entries()
    wanted = list(dict.fromkeys(names))
    archives = any(is_archive(entries[name].path) for name in wanted)
    return f"hearonce checkpoints fetch {' '.join(wanted)}{' --unpack' if archives else ''}"


def official_annotations(corpus: str) -> dict[str, tuple[Path, list[str]]]:
    """The catalogue's entries of a corpus's annotations: name -> folder they end in, and files that belong there."""
    found = {}
    for name, entry in _entries().items():
        if corpus not in entry.used_by or not entry.into.startswith("annotations"):
            continue
        if entry.folder is not None:
            files = [names.split("|")[0] for names in (entry.files or entry.holds)]
            found[name] = entry.path, files
        elif is_archive(entry.path):
            found[name] = unpacked(entry.path), list(entry.holds)
        else:
            found[name] = entry.path.parent, [str(entry.file)]
    return found


def _made_by_unpacking(path: Path, entry: Entry) -> bool:
    """Whether a path is, or lies in, what `--unpack` makes of an archive."""
    place = entry.path.absolute()
    return is_archive(place) and unpacked(place) in (path, *path.parents)


def fetched_folder(hub_id: str) -> Path | None:
    """The folder into which `hearonce checkpoints fetch` has put a model of the hub, None if it has not."""
    name = _of_hub(hub_id)
    folder = _entries()[name].path if name else None
    return folder if folder is not None and folder.is_dir() else None


def fetch_or(model: str, otherwise: str) -> str:
    """A remedy for a model that lacks, with the command that fetches it if it is official.

    Args:
        model: path of a folder, or a hub id.
        otherwise: what else can be done.
    """
    name = catalogued(Path(model)) or _of_hub(model)
    return f"run `hearonce checkpoints fetch {name}`, or {otherwise}" if name else otherwise


def _of_hub(hub_id: str) -> str | None:
    """The catalogue's name of a folder that comes from the hub, by its id there or by the short one of old."""
    for name, entry in _entries().items():
        if entry.folder is not None and (hub_id == name or any(place.hub == hub_id for place in entry.places)):
            return name if any(place.hub for place in entry.places) else None
    return None


def _entries() -> dict[str, Entry]:
    """The catalogue, empty where there is none that can be read."""
    if not CATALOGUE.is_file():
        return {}
    return _read(CATALOGUE.absolute(), CATALOGUE.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read(place: Path, changed_ns: int) -> dict[str, Entry]:
    try:
        return load_catalogue()
    except UserError:
        return {}


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
