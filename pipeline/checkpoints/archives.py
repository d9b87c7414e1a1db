"""Extracts archives that nobody vouches for: regular files and folders only, within limits, into a fresh folder.

Nothing of what an archive says about owners, modes, times, links or devices is used, and no link is ever made, so no
name can lead through one. Python's own filters are not relied on: CVE-2025-4138 and CVE-2025-4517 get past them in the
Pythons before 3.11.13, 3.12.11 and 3.13.4.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO, Protocol

from pydantic import Field

from cache.errors import UserError
from pipeline.config.records import Settings

_BLOCK = 1 << 20
_HEADER_BYTES = 1 << 16  # of one extended header of a tar archive, which is read at once
_PART_BYTES, _DEPTH = 255, 100
_SMALL = 100_000_000  # up to here any ratio is fine: a page of zeros compresses a thousandfold
_XZ_MEMORY = 1 << 30
_MAGIC = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\0"}
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    OverflowError,
    RecursionError,
    ValueError,
)


class Limits(Settings):
    """How much an archive may become; what goes beyond is refused.

    Attributes:
        members: files and folders.
        total_gb: gigabytes of all files together.
        ratio: how many times the archive's own size, looked at beyond 100 MB.
        path_bytes: length of a member's path.
    """

    members: Annotated[int, Field(gt=0)] = 1_000_000
    total_gb: Annotated[float, Field(gt=0)] = 1000.0
    ratio: Annotated[float, Field(gt=0)] = 250.0
    path_bytes: Annotated[int, Field(gt=0)] = 1000


class Refused(Exception):
    """Why an archive is not extracted, as a clause."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def extract(archive: Path, target: Path, limits: Limits) -> None:
    """Extracts an archive by its suffix.

    Args:
        archive: a tar archive, plain or compressed by gzip, bzip2 or xz; a zip archive; or one compressed file.
        target: an empty folder; for one compressed file, the file to write.
        limits: of what it becomes.

    Raises:
        UserError: the archive is damaged, or holds something other than files and folders below it, or too much; what
            was extracted by then is in `target`.
    """
    output = _Output(archive, target, limits)
    name = archive.name
    try:
        if not archive.stat().st_size:
            raise EOFError("it is empty")  # which `gzip` takes for a compressed file of no bytes
        if name.endswith(".zip"):
            _zip(archive, output)
        elif ".tar" in name or name.endswith((".tgz", ".tbz2", ".txz")):
            with ExitStack() as stack:
                _tar(_Counted(_opened(archive, stack, _suffix(archive)), output), output)
        else:
            with ExitStack() as stack, target.open("wb") as file:
                stream = _Counted(_opened(archive, stack, archive.suffix), output)
                while block := stream.read(_BLOCK):
                    file.write(block)
    except Refused as error:
        raise UserError(f"{archive} was not unpacked, because {error}.") from None
    except (NotImplementedError, RuntimeError) as error:  # a password, a method of compression that Python lacks
        if isinstance(error, RecursionError):
            raise _damaged(archive, error) from None
        raise UserError(f"{archive} cannot be unpacked by hearonce ({error}): unpack it yourself.") from None
    except OSError as error:
        known = error.errno not in (None, errno.EINVAL)  # EINVAL: a place before the start of the file
        if known and not isinstance(error, gzip.BadGzipFile):
            raise
        raise _damaged(archive, error) from None
    except _DAMAGE as error:
        raise _damaged(archive, error) from None


def _damaged(archive: Path, error: Exception) -> UserError:
    why = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{archive} is damaged and was not unpacked ({why}): delete it and fetch it again.")


class _Output:
    """The folder into which members go, and how much of the limits they have taken."""

    def __init__(self, archive: Path, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._size = archive.stat().st_size
        self._taken = self._members = 0
        self._files: set[PurePosixPath] = set()
        self._folders = {PurePosixPath()}

    def take(self, nbytes: int) -> None:
        """Counts bytes that came out of the archive.

        Raises:
            Refused: they are too many.
        """
        self._taken += nbytes
        if self._taken > self._limits.total_gb * 1e9:
            raise Refused(f"it becomes more than {self._limits.total_gb:g} GB: {_raise('total_gb')}")
        if self._taken > max(_SMALL, self._limits.ratio * self._size):
            raise Refused(f"it becomes more than {self._limits.ratio:g} times its size: {_raise('ratio')}")

    def expect(self, members: int) -> None:
        """Refuses so many members, if they are too many."""
        if members > self._limits.members:
            raise Refused(f"it has more than {self._limits.members} members: {_raise('members')}")

    def member(self, name: str) -> PurePosixPath:
        """Checks the path of one more member; `PurePosixPath()` is the folder itself.

        Raises:
            Refused: it leads elsewhere or is too long, or there are too many.
        """
        self._members += 1
        self.expect(self._members)
        length = len(os.fsencode(name))
        if length > self._limits.path_bytes:
            raise Refused(f"{_shown(name)} has a path of {length} bytes: {_raise('path_bytes')}")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise Refused(f"{_shown(name)} tries to write outside its folder: get it from a place you trust")
        if "\\" in name or "\0" in name:
            raise Refused(f"{_shown(name)} has a backslash or a NUL in its name: have it packed anew with slashes")
        if len(path.parts) > _DEPTH or any(len(os.fsencode(part)) > _PART_BYTES for part in path.parts):
            raise Refused(
                f"{_shown(name)} is nested deeper than {_DEPTH} folders or has a name over {_PART_BYTES} bytes"
            )
        return path

    def folder(self, path: PurePosixPath) -> None:
        """Makes a folder, with those above it."""
        for part in (*reversed(path.parents), path):
            if part in self._files:
                raise Refused(f"{_shown(part)} is a file and a folder in it")
            if part not in self._folders:
                os.mkdir(self._folder / part)
                self._folders.add(part)

    def file(self, path: PurePosixPath, content: _Readable) -> Iterator[int]:
        """Writes a file; yields the sizes of its blocks as they are written."""
        if path in self._files or path in self._folders:
            raise Refused(f"{_shown(path)} is in it twice, and the second would overwrite the first")
        self.folder(path.parent)
        try:
            with (self._folder / path).open("xb") as file:
                self._files.add(path)
                while block := content.read(_BLOCK):
                    file.write(block)
                    yield len(block)
        except FileExistsError:  # on a disk that takes two names for the same
            raise Refused(f"{_shown(path)} is in it twice on this disk, which takes two names for the same") from None


class _Counted:
    """What comes out of a decompressor, counted before it is used."""

    def __init__(self, stream: _Readable, output: _Output) -> None:
        self._stream, self._output = stream, output

    def read(self, size: int) -> bytes:
        block = self._stream.read(min(size, _BLOCK))
        self._output.take(len(block))
        return block


class _Xz:
    """An xz file whose dictionary may take so much memory and no more, which `lzma.open` cannot be asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._rest, self._decompressor = file, b"", self._new()

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def read(self, size: int) -> bytes:
        while True:
            if self._decompressor.eof:  # another stream may follow, after padding
                rest = self._decompressor.unused_data.lstrip(b"\0")
                while not rest and (more := self._file.read(_BLOCK)):
                    rest = more.lstrip(b"\0")
                if not rest:
                    return b""
                self._decompressor, self._rest = self._new(), rest
            if self._decompressor.needs_input and not self._rest and not (more := self._file.read(_BLOCK)):
                raise EOFError("it is cut short")
            elif self._decompressor.needs_input and not self._rest:
                self._rest = more
            block, self._rest = self._decompressor.decompress(self._rest, size), b""
            if block:
                return block


class _Header(tarfile.TarInfo):
    """A header of a tar archive, doubted: `tarfile` takes a damaged one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"a header of it is no header: {error}") from None
        if member.size < 0 or (not member.isfile() and member.size > _HEADER_BYTES):
            raise tarfile.ReadError(f"a header of it claims {member.size} bytes")
        return member


def _tar(stream: _Counted, output: _Output) -> None:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, bufsize=_BLOCK) as archive:  # type: ignore[call-overload]
        while member := archive.next():
            archive.members.clear()  # else it keeps every header
            path = output.member(member.name)
            if member.isdir():
                output.folder(path)
            elif member.isreg() and not member.issparse() and member.size >= 0:
                content = archive.extractfile(member)
                assert content is not None
                for _ in output.file(path, content):
                    pass
            else:
                kind = "a link" if member.islnk() or member.issym() else "neither a file nor a folder"
                raise Refused(f"{_shown(member.name)} in it is {kind}: only plain files and folders are taken")
    while stream.read(_BLOCK):  # to the end, where the checksum of the compressed stream stands
        pass


class _ZipBytes(io.FileIO):
    """A zip archive, doubted: `zipfile` reads its directory at once and makes an object of each member."""

    def __init__(self, archive: Path, output: _Output) -> None:
        super().__init__(archive)
        self._size, self._output = archive.stat().st_size, output

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._size:
            raise zipfile.BadZipFile("its directory claims more bytes than the file has")
        block = super().read(-1 if size is None else size)
        if len(block) > 2 * _BLOCK:  # the directory: members are read in smaller blocks
            self._output.expect(block.count(b"PK\x01\x02"))
        return block


def _zip(archive: Path, output: _Output) -> None:
    with _ZipBytes(archive, output) as file, zipfile.ZipFile(file) as packed:
        if (len(packed.infolist()) - _counted(archive)) % (1 << 16):  # of which some writers count no further
            raise zipfile.BadZipFile("its directory has not as many members as it says")
        for member in packed.infolist():
            if not member.filename:
                raise zipfile.BadZipFile("a member of it has no name")
            path = output.member(member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system == 3 else 0
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a link" if kind == stat.S_IFLNK else "neither a file nor a folder"
                raise Refused(f"{_shown(member.filename)} in it is {what}: only plain files and folders are taken")
            if member.is_dir():
                output.folder(path)
                continue
            with packed.open(member) as content:
                for nbytes in output.file(path, content):
                    output.take(nbytes)


def _counted(archive: Path) -> int:
    """How many members the end of a zip archive counts; `zipfile` takes a damaged directory for a shorter one."""
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - (1 << 16) - 98))  # a comment, and three records
        tail = file.read()
    count = struct.unpack_from("<H", tail, tail.rfind(b"PK\5\6") + 10)[0]
    large = tail.rfind(b"PK\6\6")
    return struct.unpack_from("<Q", tail, large + 32)[0] if count == 0xFFFF and large >= 0 else count


def _suffix(archive: Path) -> str:
    """How a tar archive is compressed, by its first bytes, as `tar -xf` tells: names are often wrong about it."""
    with archive.open("rb") as file:
        head = file.read(6)
    return next((suffix for suffix, magic in _MAGIC.items() if head.startswith(magic)), "")


def _opened(archive: Path, stack: ExitStack, suffix: str) -> _Readable:
    """The decompressed bytes of a file."""
    if suffix == ".xz":
        return _Xz(stack.enter_context(archive.open("rb")))
    if suffix == ".bz2":
        return stack.enter_context(bz2.open(archive))
    if suffix == ".gz":
        return stack.enter_context(gzip.open(archive))
    return stack.enter_context(archive.open("rb"))


def _raise(setting: str) -> str:
    return f"if you trust it, raise `limits: {{{setting}: …}}` of its entry in configs/checkpoints.yaml"


def _shown(name: object) -> str:
    text = str(name)
    return repr(text if len(text) <= 80 else f"{text[:50]}…{text[-25:]}")
