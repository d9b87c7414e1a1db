"""Archives beside which `hearonce checkpoints fetch --unpack` puts what they hold."""

from __future__ import annotations

from pathlib import Path

from cache.durable import new_directory, new_file
from pipeline.checkpoints.extraction import Limits, extract

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


def unpack(path: Path, limits: Limits = _LIMITS) -> Path:
    """Unpacks an archive beside itself; what it becomes appears only when it is complete.

    Args:
        path: of the archive.
        limits: of what it becomes.

    Returns:
        The folder or file; one that stands there already is left as it is.

    Raises:
        UserError: the archive is damaged, holds links or other things than files and folders, tries to write elsewhere
            or goes beyond the limits; or the disk is full. Nothing of it is left.
    """
    target = unpacked(path)
    if target.exists():
        return target
    with new_directory(target) if path.name.endswith(_FOLDERS) else new_file(target) as temporary:
        extract(path, temporary, limits)
    return target
