"""Archives, unpacked without trusting what they say about paths, owners and devices."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from cache.durable import new_directory, new_file
from cache.errors import UserError
from pipeline.checkpoints.wrapping import lift

_TAR = (".tar.gz", ".tgz", ".tar")


def is_archive(path: Path) -> bool:
    """Whether `unpack` knows what to do with a file of this name."""
    return path.name.endswith((*_TAR, ".gz"))


def unpacked(path: Path) -> Path:
    """The folder (of a tar archive) or file (of a gzip file) that an archive becomes, beside it."""
    suffix = next(one for one in (*_TAR, ".gz") if path.name.endswith(one))
    return path.with_name(path.name.removesuffix(suffix))


def unpack(path: Path, expected: Sequence[str] = ()) -> Path:
    """Unpacks an archive beside itself; what it becomes appears only when it is complete.

    A folder that wraps all files of an archive is left out, whatever its name (`pipeline.checkpoints.wrapping`).
    Links and names that lead outside, devices and set-uid bits are refused or dropped (`tarfile.data_filter`).

    Args:
        path: the archive.
        expected: files that the folder must have in the end, by relative path.

    Returns:
        The folder or file; of one that stands there already, no file is overwritten.

    Raises:
        UserError: the archive is damaged or tries to write elsewhere, or the disk is full.
    """
    target = unpacked(path)
    if target.exists():
        if target.is_dir():
            lift(target, expected)
        return target
    try:
        if path.name.endswith(_TAR):
            with new_directory(target) as temporary, tarfile.open(path) as archive:
                archive.extractall(temporary, filter="data")
                lift(temporary, expected)
        else:
            with new_file(target) as temporary, gzip.open(path) as packed, temporary.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
    except tarfile.FilterError as error:
        raise UserError(f"{path} was not unpacked, because it tries to write outside its folder: {error}.") from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged and was not unpacked ({error}): delete it and fetch it again.") from None
    return target
