"""Archives beside which `hearonce checkpoints fetch --unpack` puts what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cache.durable import new_directory, new_file
from pipeline.checkpoints.extraction import Limits, extract
from pipeline.checkpoints.wrapping import add_missing, lacks, lift

_FOLDERS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar", ".zip")
_FILES = (".gz", ".bz2", ".xz")
_LIMITS = Limits()


def is_archive(path: Path) -> bool:
    """Whether `unpack` knows what to do with a file of this name."""
    return path.name.endswith((*_FOLDERS, *_FILES))


def unpacked(path: Path) -> Path:
    """The folder (of a tar or zip archive) or file (of a compressed file) that an archive becomes, beside it."""
    suffix = next(one for one in (*_FOLDERS, *_FILES) if path.name.endswith(one))
    return path.with_name(path.name.removesuffix(suffix))


def unpack(path: Path, limits: Limits = _LIMITS, expected: Sequence[str] = ()) -> Path:
    """Unpacks an archive beside itself; what it becomes appears only when it is complete.

    A folder that wraps all files of an archive is left out, whatever its name (`pipeline.checkpoints.wrapping`).

    Args:
        path: of the archive.
        limits: of what it becomes.
        expected: files that the folder must have in the end, by relative path.

    Returns:
        The folder or file; of one that stands there already, no file is overwritten.

    Raises:
        UserError: the archive is damaged, holds links or other things than files and folders, tries to write elsewhere
            or goes beyond the limits; or the disk is full. Nothing of it is left.
    """
    target = unpacked(path)
    if target.is_dir():
        lift(target, expected)
        if lacks(target, expected):  # files of another source stand there, or of another archive
            with new_directory(target.with_name(f"{target.name}.unpacked")) as temporary:
                extract(path, temporary, limits)
                lift(temporary, expected)
            add_missing(target.with_name(f"{target.name}.unpacked"), target)
        return target
    if target.exists():
        return target
    folder = path.name.endswith(_FOLDERS)
    with new_directory(target) if folder else new_file(target) as temporary:
        extract(path, temporary, limits)
        if folder:
            lift(temporary, expected)
    return target
