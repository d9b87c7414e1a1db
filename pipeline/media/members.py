"""Media within other files, such as the members of tar files (WebDataset shards), read as if each were a file.

Readers of media want a path, and look at its ending, so a member is copied out of its shard for as long as it is read.
The last few copies are kept: clips of one medium are read one after another.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from cache.digests import DIGEST_BYTES, Stamp, stamp_of
from cache.durable import own_folder, remove
from cache.errors import writing
from pipeline.media.containers import MediaError
from pipeline.media.tar_files import SUFFIX, entries, open_tar
from pipeline.media.unchanged import CHANGED, digest_memory
from pipeline.remote.address import RemoteFile
from pipeline.remote.staging import Staging, resolved

MOST_KEPT, MOST_KEPT_BYTES = 32, 1 << 30
"""Copies that nobody reads any more, and their bytes together."""
MOST_SHARDS = 256
"""Of which a process remembers where their members are."""
_BLOCK = 1 << 20


class Packed:
    """A medium within another file: a member of a tar file, or a row of a data set. Cheap to send to another process.

    Attributes:
        name: of the medium; its ending is that of a copy.
    """

    name: str

    @property
    def stem(self) -> str:
        """The last part of the name without its ending, as that of a path."""
        return PurePosixPath(self.name).stem

    def is_dir(self) -> bool:
        """False: it is a file."""
        return False

    def is_missing(self) -> bool:
        """Whether the file that it lies in is known to be gone."""
        return False

    def copy_to(self, target: Path) -> str:
        """Writes the bytes of the medium into a new file; their digest.

        Raises:
            MediaError: they cannot be had.
            UserError: they cannot be written.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Member(Packed):
    """A medium in a tar file.

    Attributes:
        shard: the tar file, which may have to be fetched.
        name: of the member in it.
    """

    shard: Path | RemoteFile
    name: str

    def is_missing(self) -> bool:
        """Whether the tar file is gone."""
        return isinstance(self.shard, Path) and not self.shard.exists()

    def copy_to(self, target: Path) -> str:
        """Copies the member out of the tar file."""
        with shard_file(self.shard) as shard:
            place = _places.of(shard).get(self.name)
            if place is None:
                raise MediaError(f"is not in the shard {self.shard} any more: run `dvc repro` again")
            return copy_out(shard, *place, target)

    def __str__(self) -> str:
        shard = self.shard.url if isinstance(self.shard, RemoteFile) else self.shard
        return f"{shard}/{self.name}"


def split(path: str) -> Iterator[tuple[str, str]]:
    """Where a path may go on inside of a tar file: (path of the tar file, name of the member), outermost first."""
    start, lowered = 0, path.lower() if path.isascii() else path
    while (at := lowered.find(f"{SUFFIX}/", start)) >= 0:
        start = at + len(SUFFIX)
        yield path[:start], path[start + 1 :]


@contextmanager
def shard_file(shard: Path | RemoteFile) -> Iterator[Path]:
    """A shard as a file of this machine within the block.

    Raises:
        MediaError: it cannot be had.
    """
    if isinstance(shard, Path):
        yield shard
    else:
        with Staging.default(digest_memory()).held(_resolved(shard)) as staged:
            yield staged.path


@lru_cache(4096)
def _resolved(shard: RemoteFile) -> RemoteFile:
    """With size and version, by which a staged copy is known."""
    return resolved(shard)


@contextmanager
def packed_file(medium: Packed, digest: str | None = None) -> Iterator[Path]:
    """A packed medium as a file of this machine within the block.

    Args:
        medium: which.
        digest: of the bytes that it must have; None takes what there is.

    Raises:
        MediaError: there is none, it cannot be had, or it has other bytes.
        UserError: it cannot be written.
    """
    with _copies().held(medium, digest) as path:
        yield path


def copy_out(source: Path, offset: int, size: int, target: Path) -> str:
    """Copies some bytes of a file into a new one; the digest of what was copied.

    Raises:
        MediaError: the file is shorter.
        UserError: the target cannot be written.
    """
    digest, left = hashlib.blake2b(digest_size=DIGEST_BYTES), size
    with writing(target), open(target, "wb") as out, open(source, "rb", buffering=0) as file:
        file.seek(offset)
        while left and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            out.write(block)
            left -= len(block)
    if left:
        raise MediaError(CHANGED)
    return digest.hexdigest()


class _Places:
    """Where the members of tar files are, of those that this process has read from last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, Stamp], dict[str, tuple[int, int]]] = OrderedDict()

    def of(self, shard: Path) -> dict[str, tuple[int, int]]:
        """Offset and size of each member.

        Raises:
            MediaError: the shard cannot be read.
        """
        try:
            key = os.path.abspath(shard), stamp_of(shard)
        except OSError as error:
            raise MediaError(f"is in the shard {shard}, which cannot be read ({error.strerror})") from error
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found: dict[str, tuple[int, int]] = {}
        with open_tar(shard) as file:
            try:
                for entry in entries(file):
                    if not entry.fault:
                        found.setdefault(entry.name, (entry.offset, entry.size))
            except MediaError:  # reported by ingest; the members before the cut are used
                if not found:
                    raise
        with self._lock:
            self._known[key] = found
            if len(self._known) > MOST_SHARDS:
                self._known.popitem(last=False)
        return found


_places = _Places()


@dataclass
class _Copy:
    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    nbytes: int = -1


class _Copies:
    """The copies of one process.

    Args:
        folder: of this process alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._copies: OrderedDict[tuple[Packed, str | None], _Copy] = OrderedDict()
        self._count = 0

    @contextmanager
    def held(self, medium: Packed, digest: str | None) -> Iterator[Path]:
        key = (medium, digest)
        with self._lock:
            copy = self._copies.get(key)
            if copy is None:
                self._count += 1
                ending = PurePosixPath(medium.name).suffix.lower()
                copy = self._copies[key] = _Copy(self.folder / f"{self._count}{ending if ending.isascii() else ''}")
            copy.users += 1
            self._copies.move_to_end(key)
        try:
            with copy.lock:
                if copy.nbytes < 0 or not copy.path.exists():  # the staging folder may be deleted at any time
                    copy.nbytes = _made(medium, digest, copy.path)
            yield copy.path
        finally:
            with self._lock:
                copy.users -= 1
                self._prune()

    def _prune(self) -> None:
        idle = [(key, copy) for key, copy in self._copies.items() if not copy.users]
        nbytes = sum(copy.nbytes for _, copy in idle)
        left = len(idle)
        for key, copy in idle:
            if copy.nbytes >= 0 and left <= MOST_KEPT and nbytes <= MOST_KEPT_BYTES:
                continue
            del self._copies[key]
            copy.path.unlink(missing_ok=True)
            left -= 1
            nbytes -= max(copy.nbytes, 0)


def _made(medium: Packed, digest: str | None, path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if digest not in (None, medium.copy_to(path)):
            raise MediaError(CHANGED)
        return path.stat().st_size
    except BaseException:
        path.unlink(missing_ok=True)
        raise


_of_processes: dict[tuple[int, Path], _Copies] = {}
_making = threading.Lock()


def _copies() -> _Copies:
    parent = (Staging.default().room.folder / "members").absolute()
    with _making:
        key = os.getpid(), parent
        if key not in _of_processes:
            folder = own_folder(parent, "copies")
            atexit.register(_remove, folder, os.getpid())
            _of_processes[key] = _Copies(folder)
        return _of_processes[key]


def scratch_folder() -> Path:
    """The folder of this process for copies, beside the staged files; removed when the process ends.

    It may be missing, since the staging folder may be deleted at any time.
    """
    return _copies().folder


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:
        remove(folder)
