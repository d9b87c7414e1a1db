"""`configs/checkpoints.yaml`: every official file by name, where it is published and where it goes here."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from cache.errors import UserError
from pipeline.checkpoints.archives import Limits
from pipeline.config.records import CONFIGS, Settings, load
from pipeline.console.text import did_you_mean

CATALOGUE = CONFIGS / "checkpoints.yaml"
HUB = "https://huggingface.co"
DRIVE = "https://drive.google.com"


def inside(text: str) -> str:
    """A relative path that leads nowhere outside, as it was given.

    Raises:
        ValueError: it is absolute, empty, or climbs with `..`.
    """
    path = PurePosixPath(text)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        raise ValueError("must be a relative path without `..`")
    return text


Inside = Annotated[str, AfterValidator(inside)]


class Place(Settings):
    """One place where a file, or the files of a folder, can be fetched. Exactly one of the first four is given.

    Attributes:
        url: of the file, or of the folder that holds the files.
        hub: a repository id of the Hugging Face hub.
        drive: a file id of Google Drive.
        drive_folder: a folder id of Google Drive; the file is found there by its name.
        path: name of the file at a hub, where it has another one.
        revision: branch, tag or commit at a hub.
    """

    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    hub: str | None = None
    drive: str | None = None
    drive_folder: str | None = None
    path: Inside | None = None
    revision: str = "main"

    @model_validator(mode="after")
    def _one(self) -> Place:
        if sum(one is not None for one in (self.url, self.hub, self.drive, self.drive_folder)) != 1:
            raise ValueError("needs exactly one of url, hub, drive, drive_folder")
        return self

    def address(self, name: str | None, in_folder: bool) -> str:
        """Where a person finds a file in a browser; without a name, all files."""
        if self.url is not None:
            return f"{self.url.rstrip('/')}/{name}" if in_folder and name else self.url
        if self.hub is not None and name is None:
            return f"{HUB}/{self.hub}/tree/{self.revision}"
        if self.hub is not None:
            return f"{HUB}/{self.hub}/resolve/{self.revision}/{self.path or name}"
        if self.drive is not None:
            return f"{DRIVE}/file/d/{self.drive}/view"
        return f"{DRIVE}/drive/folders/{self.drive_folder}"


class Entry(Settings):
    """One thing to fetch: a file, or a folder of files.

    Attributes:
        file: name of the file; or else
        folder: name of the folder.
        files: what the folder holds; `a|b` is the first of the two that is published. None given: all that a Google
            Drive folder holds.
        weights: more files of the folder, fetched only when asked for.
        holds: files that an archive must have when it is unpacked, below its top folder if it has one, of `a|b` one; or
            that a corpus reads of a Google Drive folder.
        into: where the file or folder goes, relative to the project.
        places: tried in this order.
        licence: what its publishers say about its use.
        used_by: encoders, corpora or commands.
        limits: of what an archive may become.
    """

    file: Inside | None = None
    folder: Inside | None = None
    files: tuple[Inside, ...] = ()
    weights: tuple[Inside, ...] = ()
    holds: tuple[Inside, ...] = ()
    into: Inside = "checkpoints"
    places: Annotated[list[Place], Field(min_length=1)]
    licence: str
    used_by: list[str]
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _consistent(self) -> Entry:
        if (self.file is None) == (self.folder is None):
            raise ValueError("needs exactly one of file and folder")
        if self.file is not None and (self.files or self.weights):
            raise ValueError("files and weights belong to a folder")
        if self.holds and self.files:
            raise ValueError("holds belongs to archives and to folders whose files are not listed")
        if self.folder is not None and any(place.drive for place in self.places):
            raise ValueError("a folder cannot come from a single Drive file")
        if self.folder is not None and not self.files and any(not place.drive_folder for place in self.places):
            raise ValueError("files must be listed unless they come from a Drive folder")
        return self

    @property
    def path(self) -> Path:
        """Where the file or folder goes, relative to the project."""
        return Path(self.into) / str(self.file or self.folder)

    def choices(self, weights: bool = False) -> list[list[str]]:
        """For each file that is wanted, the names under which it may be published; empty if nobody knows them yet."""
        if self.file is not None:
            return [[self.file]]
        return [names.split("|") for names in (*self.files, *(self.weights if weights else ()))]

    def target(self, name: str) -> Path:
        """Where a file goes, relative to the project."""
        return self.path / name if self.folder is not None else self.path


class Catalogue(Settings):
    """`configs/checkpoints.yaml`."""

    checkpoints: dict[str, Entry]


def load_catalogue() -> dict[str, Entry]:
    """Reads `configs/checkpoints.yaml` of the current directory.

    Raises:
        UserError: it is missing or wrong.
    """
    if not CATALOGUE.is_file():
        raise UserError(f"{CATALOGUE} is missing here ({Path.cwd()}): run in the top folder of the project.")
    return load(CATALOGUE, Catalogue).checkpoints


def find(name: str, catalogue: dict[str, Entry]) -> str:
    """The catalogue's name for a name, whatever its case, or for a file or folder name.

    Raises:
        UserError: there is none; says what may have been meant.
    """
    names = {key.casefold(): key for key in catalogue}
    names |= {entry.path.name.casefold(): key for key, entry in catalogue.items() if entry.into == "checkpoints"}
    names |= {key.casefold(): key for key in catalogue}
    if name.casefold() not in names:
        raise UserError(f"No checkpoint {name!r} in {CATALOGUE}: {did_you_mean(name, catalogue)}")
    return names[name.casefold()]


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


HEAD_BYTES = 512
_PAGES = (b"<!doctype html", b"<html", b"<head")


def stand_in(head: bytes) -> str | None:
    """What the first bytes of a file show it to be if it is not the file itself, None if nothing is wrong with them."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself"
    if start.startswith(_PAGES):
        return "a web page, not the file itself"
    return None


def stand_in_at(path: Path) -> str | None:
    """The same of a file on the disk."""
    with path.open("rb") as file:
        return stand_in(file.read(HEAD_BYTES))
