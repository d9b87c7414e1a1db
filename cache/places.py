"""Where stores and artifacts lie: a local folder, or any URL that fsspec knows, read in the same way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cache.errors import UserError

Piece = tuple[int, np.ndarray]
"""Where in the file to begin, and the uint8 array to fill from there."""


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


class Place(Protocol):
    """A folder."""

    def __str__(self) -> str: ...

    def child(self, name: str) -> Place:
        """A folder or file in it."""

    def names(self) -> list[str]:
        """Names of what lies in it, sorted; none if there is no such folder."""

    def read(self, name: str) -> bytes:
        """A whole small file.

        Raises:
            FileNotFoundError: there is none.
        """

    def blob(self, name: str) -> Blob:
        """Opens a file."""


class LocalPlace:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def child(self, name: str) -> LocalPlace:
        """See `Place.child`."""
        return LocalPlace(self.path / name)

    def names(self) -> list[str]:
        """See `Place.names`."""
        try:
            return sorted(os.listdir(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str) -> bytes:
        """See `Place.read`."""
        return (self.path / name).read_bytes()

    def blob(self, name: str) -> Blob:
        """See `Place.blob`."""
        return _LocalBlob(self.path / name)


class _LocalBlob:
    # Not memory-mapped: of a file that is cut short or on a failing disk, a map kills the process by SIGBUS.
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._descriptor).st_size

    def fill(self, pieces: Sequence[Piece]) -> None:
        for start, target in pieces:
            n = os.preadv(self._descriptor, [target.data], start)
            while n < target.nbytes:  # at most 2 GiB come at a time
                more = os.preadv(self._descriptor, [target.reshape(-1)[n:].data], start + n)
                if more == 0:
                    raise EOFError
                n += more

    def close(self) -> None:
        os.close(self._descriptor)


class RemotePlace:
    """A folder behind an fsspec file system."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self.filesystem = filesystem
        self.path = path.rstrip("/")

    def __str__(self) -> str:
        return str(self.filesystem.unstrip_protocol(self.path))

    def child(self, name: str) -> RemotePlace:
        """See `Place.child`."""
        return RemotePlace(self.filesystem, f"{self.path}/{name}")

    def names(self) -> list[str]:
        """See `Place.names`."""
        try:
            self.filesystem.invalidate_cache()
            found = self.filesystem.ls(self.path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(one.rstrip("/").rsplit("/", 1)[-1] for one in found)

    def read(self, name: str) -> bytes:
        """See `Place.read`."""
        return bytes(self.filesystem.cat_file(f"{self.path}/{name}"))

    def blob(self, name: str) -> Blob:
        """See `Place.blob`."""
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


def place_of(path: Path | str, filesystem: Any = None) -> LocalPlace | RemotePlace:
    """The place that a path or URL names.

    Args:
        path: a local path, a `file://` URL, or any URL of fsspec (`s3://bucket/rows`, `memory://rows`).
        filesystem: the fsspec file system that `path` lies in, for example DVC's; then `path` is a path there.

    Raises:
        UserError: fsspec does not know the URL's protocol, or the package it needs is not installed.
    """
    if filesystem is not None:
        return RemotePlace(filesystem, str(path))
    text = str(path)
    if text.startswith("file://"):
        return LocalPlace(Path(text.removeprefix("file://")))
    if "://" not in text:
        return LocalPlace(Path(text))
    import fsspec  # type: ignore[import-untyped]

    try:
        found, inner = fsspec.core.url_to_fs(text)
    except (ValueError, ImportError) as error:
        raise UserError(f"{text} cannot be opened: {' '.join(str(error).split()).rstrip('.')}.") from None
    return RemotePlace(found, inner)
