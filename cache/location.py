"""Where stores and artifacts are: the project's store, a local folder, or any URL of fsspec."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cache.errors import Damage, FalseClaim, UserError, unreadable

MOST_BYTES = 1 << 30
"""A file that is read whole is no larger: a document, or 65,536 ids."""

_IN_DVC_CACHE = re.compile(r"/[0-9a-f]{2}/[0-9a-f]{30}$")

Piece = tuple[int, np.ndarray]
"""Where in the file to begin, and the uint8 array to fill from there."""

_PLAINLY = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
STORE_VARIABLE = "HEARONCE_STORE"
WORKING_TREE_STORE = Path(".hearonce")
DIGESTS = "digests.sqlite"


class Blob(Protocol):
    """One file, open for reading."""

    size: int

    def fill(self, pieces: Sequence[Piece]) -> None:
        """Reads each piece.

        Raises:
            EOFError: the file is shorter.
        """

    def close(self) -> None:
        """Lets go of the file."""


class Location(Protocol):
    """A folder."""

    def __str__(self) -> str: ...

    def child(self, name: str) -> Location:
        """A folder or file in it."""

    def names(self) -> list[str]:
        """Names of what lies in it, sorted; none if there is no such folder."""

    def read(self, name: str) -> bytes:
        """A whole small file.

        Raises:
            FileNotFoundError: there is none.
            Unreadable: the operating system refuses.
            FalseClaim: it is no plain file, a link to somewhere else, or far too large.
        """

    def nbytes(self) -> int:
        """Bytes of the files that lie directly in it."""

    def blob(self, name: str) -> Blob:
        """Opens a file; raises as `read` does."""


class LocalLocation:
    """A folder of this machine.

    In what lies below it, only plain files are opened (a FIFO would block for ever), and links only where they stay
    within it or lead into DVC's cache: what somebody has sent must not read other files.

    Args:
        path: of the folder.
        top: the folder that links may not leave; itself by default.
    """

    def __init__(self, path: Path, top: Path | None = None) -> None:
        self.path = path
        self._top = top or path

    def __str__(self) -> str:
        return str(self.path)

    def child(self, name: str) -> LocalLocation:
        """See `Location.child`."""
        return LocalLocation(self.path / name, self._top)

    def names(self) -> list[str]:
        """See `Location.names`."""
        try:
            return sorted(os.listdir(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise unreadable(self.path, error) from None

    def nbytes(self) -> int:
        """Bytes of the files that lie directly in it."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.path) as entries:
            return sum(entry.stat(follow_symlinks=True).st_size for entry in entries if entry.is_file())
        return 0

    def read(self, name: str) -> bytes:
        """See `Location.read`."""
        blob = _LocalBlob(self._open(name))
        try:
            if blob.size > MOST_BYTES:
                raise FalseClaim([Damage(name, None, f"has {blob.size:,} bytes, which is no file of hearonce")])
            with open(blob.descriptor, "rb", closefd=False) as file:
                return file.read(blob.size)
        except OSError as error:
            raise unreadable(self.path / name, error) from None
        finally:
            blob.close()

    def blob(self, name: str) -> Blob:
        """See `Location.blob`."""
        return _LocalBlob(self._open(name))

    def _open(self, name: str) -> int:
        path = self.path / name
        try:
            if self.path != self._top and os.path.islink(self.path):
                self._check_link(self.path, name)
            try:
                descriptor = os.open(path, _PLAINLY | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.EMLINK):
                    raise
                self._check_link(path, name)
                descriptor = os.open(path, _PLAINLY)
        except NotADirectoryError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ELOOP):  # a socket, or a link to itself
                raise FalseClaim([Damage(name, None, "is no plain file")]) from None
            raise unreadable(path, error) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FalseClaim([Damage(name, None, "is no plain file")])
        return descriptor

    def _check_link(self, path: Path, name: str) -> None:
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(os.path.realpath(self._top)) and not _IN_DVC_CACHE.search(str(target)):
            raise FalseClaim([Damage(name, None, f"is a link to {target}, outside of {self._top}")])


class _LocalBlob:
    # Not memory-mapped: of a file that is cut short or on a failing disk, a map kills the process by SIGBUS.
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def fill(self, pieces: Sequence[Piece]) -> None:
        for start, target in pieces:
            n = os.preadv(self.descriptor, [target.data], start)
            while n < target.nbytes:  # at most 2 GiB come at a time
                more = os.preadv(self.descriptor, [target.reshape(-1)[n:].data], start + n)
                if more == 0:
                    raise EOFError
                n += more

    def close(self) -> None:
        os.close(self.descriptor)


class RemoteLocation:
    """A folder behind an fsspec file system."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self.filesystem = filesystem
        self.path = path.rstrip("/")

    def __str__(self) -> str:
        return str(self.filesystem.unstrip_protocol(self.path))

    def child(self, name: str) -> RemoteLocation:
        """See `Location.child`."""
        return RemoteLocation(self.filesystem, f"{self.path}/{name}")

    def names(self) -> list[str]:
        """See `Location.names`."""
        try:
            self.filesystem.invalidate_cache()
            found = self.filesystem.ls(self.path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def nbytes(self) -> int:
        """See `Location.nbytes`."""
        try:
            return int(self.filesystem.du(self.path, maxdepth=1))
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def read(self, name: str) -> bytes:
        """See `Location.read`."""
        return bytes(self.filesystem.cat_file(f"{self.path}/{name}"))

    def blob(self, name: str) -> Blob:
        """See `Location.blob`."""
        return _RemoteBlob(self.filesystem, f"{self.path}/{name}")


class _RemoteBlob:
    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem = filesystem
        self._path = path
        self.size = int(filesystem.size(path))

    def fill(self, pieces: Sequence[Piece]) -> None:
        starts = [start for start, _ in pieces]
        stops = [start + target.nbytes for start, target in pieces]
        if stops and max(stops) > self.size:
            raise EOFError
        found = self._filesystem.cat_ranges([self._path] * len(pieces), starts, stops, on_error="raise")
        for (_, target), data in zip(pieces, found, strict=True):
            if len(data) != target.nbytes:
                raise EOFError
            target.reshape(-1)[...] = np.frombuffer(data, np.uint8)

    def close(self) -> None:
        pass


def location_of(path: Path | str, filesystem: Any = None) -> LocalLocation | RemoteLocation:
    """The place that a path or URL names.

    Args:
        path: a local path, a `file://` URL, or any URL of fsspec (`s3://bucket/rows`, `memory://rows`).
        filesystem: the fsspec file system that `path` lies in, for example DVC's; then `path` is a path there.

    Raises:
        UserError: fsspec does not know the URL's protocol, or the package it needs is not installed.
    """
    if filesystem is not None:
        return RemoteLocation(filesystem, str(path))
    text = str(path)
    if text.startswith("file://"):
        return LocalLocation(Path(text.removeprefix("file://")))
    if "://" not in text:
        return LocalLocation(Path(text))
    import fsspec  # type: ignore[import-untyped]

    try:
        found, inner = fsspec.core.url_to_fs(text)
    except (ValueError, ImportError) as error:
        raise UserError(f"{text} cannot be opened: {' '.join(str(error).split()).rstrip('.')}.") from None
    return RemoteLocation(found, inner)


@dataclass(frozen=True)
class Store:
    """The folders of one store.

    Attributes:
        root: `$HEARONCE_STORE`, which a team may share, or `.hearonce` in the working tree.
        local: what is of this machine alone; `root` if None.
    """

    root: Path
    local: Path | None = None

    @classmethod
    def default(cls) -> Store:
        """The store this process works with.

        Raises:
            UserError: `$HEARONCE_STORE` names no folder: a store on a disk that is not mounted must not begin anew.
        """
        named = os.environ.get(STORE_VARIABLE)
        if not named:
            return cls(WORKING_TREE_STORE, WORKING_TREE_STORE)
        if "://" in named:
            raise UserError(
                f"{STORE_VARIABLE} is a URL, but runs write into their store, which takes a folder: mount it, or share "
                "rows with `dvc push` or `hearonce cache merge`."
            )
        if not Path(named).is_dir():
            raise UserError(
                f"{STORE_VARIABLE} names {named}, which is no folder: mount the disk it lies on, or make the folder "
                "(`mkdir -p`) to begin a new store there."
            )
        return cls(Path(named), WORKING_TREE_STORE)

    @property
    def rows(self) -> Path:
        """Row stores, one folder per modality and fingerprint."""
        return self.root / "rows"

    @property
    def audio(self) -> Path:
        """Extracted audio, addressed by content."""
        return self.root / "audio"

    @property
    def answers(self) -> Path:
        """Answers of language models, one folder per prompt, model and decoding."""
        return self.root / "answers"

    @property
    def captions(self) -> Path:
        """Captions that were imported from pickles, by the pickles' digests."""
        return self.root / "captions"

    @property
    def trainings(self) -> Path:
        """How far trainings have come that are not finished, one folder each."""
        return self.root / "trainings"

    @property
    def previews(self) -> Path:
        """Images and previews that the search server has made, of this machine alone; may be deleted at any time."""
        return (self.local or self.root) / "previews"

    @property
    def logs(self) -> Path:
        """What runs on this machine have written down of themselves."""
        return (self.local or self.root) / "logs"

    @property
    def digests(self) -> Path:
        """Remembered digests of files of this machine."""
        return (self.local or self.root) / DIGESTS

    @property
    def staging(self) -> Path:
        """Copies of remote media that are or were in use on this machine."""
        return (self.local or self.root) / "staging"

    @property
    def shards(self) -> Path:
        """What the tar files hold that `ingest` has read on this machine; may be deleted at any time."""
        return (self.local or self.root) / "shards"

    @property
    def word_indexes(self) -> Path:
        """Where the words are in files of word vectors, by the files' digests."""
        return (self.local or self.root) / "word-indexes"
