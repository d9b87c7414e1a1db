"""Tar files as shards of a data set: the files in them in their order, read once from front to back."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from pipeline.formats.text import fault_of_text
from pipeline.media.containers import MediaError

SUFFIX = ".tar"
PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".z", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst")
"""Endings of compressed tar files."""
_BUFFER = 1 << 20
_PACKED = (
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\xfd7zXZ\0", "xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
)
_PACKED_NAME = re.compile(r".*\.(tar\.(gz|bz2|xz|zst|lz4|Z)|tgz|tbz2?|txz|tzst)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a tar file.

    Attributes:
        name: its path in the tar file, without `./`.
        offset: where its bytes begin.
        size: their number.
        fault: why it cannot be used; empty if it can.
    """

    name: str
    offset: int
    size: int
    fault: str = ""


def entries(file: BinaryIO) -> Iterator[Entry]:
    """The files of a tar file in their order; folders are left out.

    The caller may read from `file` between two entries.

    Args:
        file: open, at its start; best with a large buffer (`open_tar`).

    Raises:
        MediaError: after the entries that are whole: it is cut short or damaged; before any: it is compressed, or no
            tar file.
    """
    _refuse_packed(file.read(8))
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    try:
        tar = tarfile.TarFile(fileobj=file, mode="r", encoding="utf-8", errors="surrogateescape")
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise MediaError("is empty" if size == 0 else f"is no tar file ({error})") from None
    last = ""
    while True:
        try:
            found = tar.next()
        except OSError as error:
            raise MediaError(f"cannot be read ({error.strerror or error})") from error
        except Exception as error:  # whatever a damaged header leads to
            raise MediaError(_cut(tar.offset, last, str(error))) from None
        if found is None:
            break
        tar.members = []  # type: ignore[attr-defined]  # it would keep them all
        if found.offset_data + (0 if found.issparse() else found.size) > size and found.isreg():
            raise MediaError(f"is cut short: it ends within {_shown(found.name)}; the members before it are used")
        last = _shown(found.name)
        if not found.isdir():
            yield _entry(found)
    file.seek(tar.offset)
    end = file.read(tarfile.BLOCKSIZE)
    if end.count(0) != tarfile.BLOCKSIZE:
        raise MediaError(_cut(tar.offset, last, "damaged header" if len(end) == tarfile.BLOCKSIZE else "no end marker"))


def open_tar(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file for `entries`."""
    return open(path, "rb", buffering=_BUFFER)


def is_packed(name: str) -> bool:
    """Whether a name is that of a compressed tar file."""
    return _PACKED_NAME.fullmatch(name) is not None


def is_shard(name: str) -> bool:
    """Whether a name is that of a tar file, compressed or not."""
    return name.lower().endswith(SUFFIX) or is_packed(name)


def packed_reason(how: str = "", remedy: str = "gunzip or unzstd") -> str:
    """Why a compressed tar file is refused, and what to do."""
    by = f" by {how}" if how else ""
    return f"is compressed{by}, so that no member can be read by itself: unpack it once ({remedy}) and use the .tar"


def _refuse_packed(head: bytes) -> None:
    for magic, how, remedy in _PACKED:
        if head.startswith(magic):
            raise MediaError(packed_reason(how, remedy))


def _entry(found: tarfile.TarInfo) -> Entry:
    name = found.name
    if "/" in name:
        name = PurePosixPath(name).as_posix()
    return Entry(name, found.offset_data, found.size, _fault(found, name))


def _fault(found: tarfile.TarInfo, name: str) -> str:
    if found.islnk() or found.issym():
        return f"is a link to {_shown(found.linkname)}, not a file: put the file itself into the shard"
    if found.issparse():
        return "is stored sparsely: write the shard without `--sparse`"
    if not found.isreg():
        return "is a device or pipe, not a file"
    if name.startswith("/") or ".." in name.split("/"):
        return "has an unsafe name, absolute or with `..`: rename it"
    if not name.isprintable() or fault_of_text(name):
        return "has an unsafe name, with characters that cannot be shown: rename it"
    return "is empty (0 bytes)" if not found.size else ""


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()[:200]


def _cut(offset: int, last: str, why: str) -> str:
    after = f" after {last}" if last else ""
    return f"is cut short or damaged at byte {offset}{after} ({why}): the members before it are used"
