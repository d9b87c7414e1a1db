"""Where the media of a corpus lie: in a folder of this machine, or wherever a media list says; as files, or in shards.

All who read media ask a place for the `Source` of a path, and read the local path that `local` gives for it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from cache.errors import UserError
from pipeline.media.containers import SUFFIXES as MEDIA
from pipeline.media.containers import MediaError
from pipeline.media.dataset_rows import SCHEME, is_dataset, row_at
from pipeline.media.media_list import SUFFIXES, read_media_list
from pipeline.media.members import Member, Packed, packed_file, split
from pipeline.media.tar_files import PACKED, is_shard
from pipeline.media.tar_files import SUFFIX as TAR
from pipeline.media.unchanged import FolderFrames, Unchanged, digest_memory
from pipeline.media.walk import Walk, walk
from pipeline.remote.address import RemoteFile, scheme, url_of
from pipeline.remote.reading import check_kinds
from pipeline.remote.staging import Staging

Source = Path | RemoteFile | Packed
"""A medium: a file of this machine (or a folder of frames), one that has to be fetched, or one in another file."""


@dataclass(frozen=True)
class Held:
    """A medium that can be read at a path of this machine.

    Attributes:
        path: the file or folder.
        original: what tells whether it changes; None for a copy of our own.
    """

    path: Path
    original: Unchanged | None = None

    def check(self) -> None:
        """Makes sure that what was read so far were the bytes of the digest: before anything made of it is kept.

        Raises:
            MediaError: the medium has changed.
        """
        if self.original is not None:
            self.original.check()

    def folder_frames(self, numbers: Iterable[int], clamp: bool) -> FolderFrames | None:
        """See `Unchanged.folder_frames`."""
        return None if self.original is None else self.original.folder_frames(numbers, clamp)


@contextmanager
def held(source: Source, digest: str | None = None) -> Iterator[Held]:
    """Makes a medium readable at a path of this machine within the block, and refuses one with other bytes.

    A file of this machine is read where it is; its size, times and inode are looked at before and after, and its bytes
    when these are not the remembered ones. One that is packed is copied out. Another is fetched unless it is
    staged, and stays staged within the block; a thread should hold one at a time.

    Args:
        source: the medium.
        digest: of the bytes that it must have; None takes what there is.

    Raises:
        MediaError: it cannot be had, has other bytes, or has changed by the end of the block.
        UserError: it cannot be written into the staging folder.
    """
    if isinstance(source, Packed):
        with packed_file(source, digest) as copy:
            yield Held(copy)
    elif not isinstance(source, Path):
        with Staging.default().held(source, digest) as staged:
            yield Held(staged.path)
    elif digest is None:
        yield Held(source)
    else:
        medium = Held(source, Unchanged(source, digest, digest_memory()))
        try:
            yield medium
        except Exception:
            medium.check()  # what could not be decoded may have been half of another file
            raise
        if not source.is_dir():  # of a folder each image was checked
            medium.check()


@contextmanager
def local(source: Source, digest: str | None = None) -> Iterator[Path]:
    """As `held`, for readers that keep nothing before the block ends; yields the path."""
    with held(source, digest) as medium:
        yield medium.path


class Sources(Protocol):
    """What knows media by their paths."""

    def source(self, path: str) -> Source:
        """The medium of this path.

        Raises:
            MediaError: it is known that there is none.
        """


class GivenMedia:
    """Media that are known one by one; of a part of a corpus, small enough to be sent.

    Args:
        sources: the media.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {self.name(source): source for source in sources}

    def name(self, source: Source) -> str:
        """By which a medium is known here."""
        return source.url if isinstance(source, RemoteFile) else str(source)

    def source(self, path: str) -> Source:
        """The medium of this name."""
        return self._sources[path]


class MediaPlace(Sources, Protocol):
    """Where media lie."""

    @property
    def folder(self) -> Path | None:
        """The folder of this machine in which they lie, if they do."""

    def files(self) -> list[Path]:
        """All media there, by the paths that annotations use, sorted."""

    def shards(self) -> list[tuple[str, Path | RemoteFile]]:
        """(path, file) of all tar files there, compressed ones too; a member's path begins with that of its shard."""

    def dataset(self) -> str | None:
        """The Hugging Face dataset there, a folder or URL, or None; see `pipeline.media.dataset_rows`."""

    def faults(self) -> list[tuple[Path, str]]:
        """(path, reason) of what looks like a medium and cannot be one."""

    def notes(self, known: Collection[str] = ()) -> list[str]:
        """What was passed over, in sentences.

        Args:
            known: endings of files that are read for something else.
        """

    def has(self, path: Path) -> bool:
        """Whether there is a medium (or a folder of frames) of this path."""

    def path_of(self, url: str) -> Path | None:
        """The path of a medium by its URL, None if this place does not know it."""


class MediaFolder:
    """Media in a folder of this machine; a path that stands for a URL is fetched from there.

    Args:
        folder: to which media paths are relative.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    @cached_property
    def _walk(self) -> Walk:
        return self.walk(MEDIA)

    def files(self) -> list[Path]:
        """Media files by suffix, each once; hidden files and folders are left out. See `pipeline.media.walk`.

        Raises:
            UserError: there is no such folder.
        """
        return list(self._walk.files)

    def shards(self) -> list[tuple[str, Path | RemoteFile]]:
        """Tar files of the folder and those below it.

        Raises:
            UserError: there is no such folder.
        """
        found = (path.as_posix() for path in self.walk({TAR, *PACKED}).files)
        return [(path, self.folder / path) for path in found if is_shard(path)]

    def walk(self, suffixes: Collection[str]) -> Walk:
        """See `pipeline.media.walk`.

        Raises:
            UserError: there is no such folder.
        """
        if not self.folder.is_dir():
            raise UserError(f"The media folder {self.folder} does not exist: correct `media:` in params.yaml.")
        return walk(self.folder, suffixes)

    def faults(self) -> list[tuple[Path, str]]:
        """What looks like a medium and cannot be one."""
        return list(self._walk.faults)

    def unfit(self) -> list[Path]:
        """What programs that read every file of the folder stop at."""
        return list(self._walk.unfit)

    def notes(self, known: Collection[str] = ()) -> list[str]:
        """What was passed over."""
        return self._walk.notes(known)

    def has(self, path: Path) -> bool:
        """Whether there is a file or folder of this path."""
        return os.path.exists(self.folder / path)  # False where no file can have this name

    def source(self, path: str) -> Source:
        """The file, the member of a tar file, or what a URL names."""
        url = url_of(path)
        if url:
            return RemoteFile(url, path)
        for shard, name in split(path):
            if (self.folder / shard).is_file():
                return Member(self.folder / shard, name)
        file = self.folder / path
        row = row_at(str(self.folder), path)
        return row if row is not None and not file.exists() else file

    def dataset(self) -> str | None:
        """The folder itself, if it looks like a dataset."""
        return str(self.folder) if is_dataset(self.folder) else None

    def path_of(self, url: str) -> Path | None:
        """None: a folder knows no URLs."""
        return None


class MediaList:
    """Media wherever a list says; see `pipeline.media.media_list`.

    Args:
        path: of the list.

    Raises:
        UserError: it cannot be read, or names a kind of URL that cannot be read here.
    """

    folder = None

    def __init__(self, path: Path) -> None:
        self._list = path
        self._frame = read_media_list(path)
        self._rows = {name: row for row, name in enumerate(self._frame["path"])}
        self._by_url: dict[str, str] = {}
        check_kinds({scheme(url): url for url in self._frame["url"]}, path)

    def __str__(self) -> str:
        return str(self._list)

    def files(self) -> list[Path]:
        """All media of the list."""
        return [Path(name) for name in sorted(self._rows)]

    def faults(self) -> list[tuple[Path, str]]:
        """None: a list that cannot be read is refused as a whole."""
        return []

    def notes(self, known: Collection[str] = ()) -> list[str]:
        """None: a list has nothing but media."""
        return []

    def has(self, path: Path) -> bool:
        """Whether the list has this path."""
        return path.as_posix() in self._rows

    def source(self, path: str) -> Source:
        """Where the medium lies.

        Raises:
            MediaError: the list does not have it.
        """
        row = self._rows.get(path)
        if row is not None:
            return self._file(row)
        for shard, name in split(path):
            if (row := self._rows.get(shard)) is not None:
                return Member(self._file(row), name)
        hub = self.dataset()
        if hub is not None and (found := row_at(hub, path)) is not None:
            return found
        raise MediaError(f"not in the media list {self._list}")

    def dataset(self) -> str | None:
        """The URL of the list, if that is of a dataset."""
        return next((url for url in self._frame["url"] if scheme(url) == SCHEME), None)

    def _file(self, row: int) -> Path | RemoteFile:
        name, url, size, etag = self._frame.row(row)
        if scheme(url) == "file":
            return Path(url.partition("://")[2])
        return RemoteFile(url, name, size, etag or "")

    def shards(self) -> list[tuple[str, Path | RemoteFile]]:
        """The tar files of the list."""
        return [(name, self._file(self._rows[name])) for name in sorted(self._rows) if is_shard(name)]

    def path_of(self, url: str) -> Path | None:
        """The path of a medium by its URL, None if the list does not have it."""
        if not self._by_url:
            self._by_url = dict(zip(self._frame["url"], self._frame["path"], strict=True))
        name = self._by_url.get(url)
        return None if name is None else Path(name)


def open_place(media: Path) -> MediaPlace:
    """The place that `media:` of a corpus names: a media list if it is a file of such a kind, else a folder.

    Raises:
        UserError: the list cannot be read.
    """
    if media.suffix.lower() in SUFFIXES and not media.is_dir():
        return MediaList(media)
    return MediaFolder(media)
