"""Archives beside which `hearonce checkpoints fetch --unpack` puts what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from cache.durable import new_directory, new_file, remove
from cache.errors import UserError
from pipeline.checkpoints.archives import Limits, extract

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

    A folder that wraps all files of an archive is left out, whatever its name (`pipeline.checkpoints.unpack`).

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


_JUNK = ("__MACOSX", ".DS_Store")


def lift(folder: Path, expected: Sequence[str] = ()) -> None:
    """Moves files out of the folders that wrap them: `folder/data/a.pkl` becomes `folder/a.pkl`.

    A folder wraps the files if there is nothing beside it, or if it has expected files that lack above it. So a folder
    that was unpacked in another form, or whose lifting was interrupted, ends in the same form.

    Args:
        folder: what an archive was unpacked into.
        expected: relative paths of files that must be there in the end; of `a|b` one.
    """
    while (wrapper := _wrapper(folder, expected)) is not None:
        inner = wrapper.rename(folder / f".{uuid4().hex}")  # it may hold something of its own name
        for entry in sorted(inner.iterdir()):
            if not (folder / entry.name).exists():
                entry.rename(folder / entry.name)
        if any(inner.iterdir()):
            inner.rename(wrapper if not wrapper.exists() else folder / f"{wrapper.name}.rest")
            return  # both have a file of one name: neither is thrown away
        inner.rmdir()


def lacks(folder: Path, expected: Sequence[str]) -> list[str]:
    """Which expected files a folder does not have."""
    return [one for one in expected if not _has(folder, one)]


def _has(folder: Path, names: str) -> bool:
    return any((folder / one).exists() for one in names.split("|"))


def add_missing(source: Path, target: Path) -> None:
    """Moves files into a folder that has none of their name, and drops the others with their folder."""
    for file in sorted(one for one in source.rglob("*") if one.is_file()):
        place = target / file.relative_to(source)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            file.rename(place)
    remove(source)


def check_expected(folder: Path, expected: Sequence[str], archive: Path, name: str) -> None:
    """Checks that an unpacked archive has what the project reads of it.

    Args:
        folder: what it was unpacked into.
        expected: relative paths.
        archive: the file it came from.
        name: of its catalogue entry.

    Raises:
        UserError: a file lacks; says which, and what is there instead.
    """
    lacking = lacks(folder, expected)
    if not lacking:
        return
    missing = ", ".join(one.replace("|", " or ") for one in lacking)
    there = _shown(sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()))
    raise UserError(
        f"{archive} lacks {missing} (it has {there}), so it is not the published {name}, or that has "
        f"changed: put the missing files into {folder}/, or delete both and run `hearonce checkpoints fetch {name} "
        "--unpack`."
    )


def _wrapper(folder: Path, expected: Sequence[str]) -> Path | None:
    entries = [one for one in folder.iterdir() if not _is_junk(one)]
    lacking = lacks(folder, expected)
    if expected and not lacking:
        return None
    folders = [one for one in entries if one.is_dir() and not one.is_symlink()]
    if len(entries) == 1 and folders:
        return folders[0]
    return next((one for one in folders if any(_has(one, path) for path in lacking)), None)


def _is_junk(path: Path) -> bool:
    return path.name in _JUNK or path.name.startswith("._")


def _shown(names: Sequence[str], most: int = 8) -> str:
    if not names:
        return "no file"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
