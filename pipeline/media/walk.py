"""What a folder of media holds: its media files by suffix, each once, and what was passed over, counted by kind."""

from __future__ import annotations

import errno
import os
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.console.text import counted
from pipeline.media.containers import SUFFIXES

NOT_UTF8 = "its name is not UTF-8: rename it"
MOST_KINDS = 6
"""Kinds of files that are named when they are counted."""

SPECIAL = "pipes, sockets or devices"
NO_SUFFIX = "without an ending"


@dataclass
class Walk:
    """What a folder holds. Hidden files and folders play no part.

    Attributes:
        suffixes: endings of media.
        files: media, relative to the folder, sorted.
        faults: (path, reason) of what cannot be used: a name that is not UTF-8, a link to itself, a folder that may not
            be read.
        left_out: how many files of each kind are no media by their ending, in small letters, or no files at all.
        again: links to media, and to folders, that are there already.
        unfit: what programs that read every file stop at: names that are not UTF-8, links that lead nowhere, pipes,
            sockets and devices, folders that may not be read.
    """

    suffixes: Collection[str] = SUFFIXES
    files: list[Path] = field(default_factory=list)
    faults: list[tuple[Path, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    again: int = 0
    unfit: list[Path] = field(default_factory=list)

    def notes(self, known: Collection[str] = ()) -> list[str]:
        """Sentences on what was passed over.

        Args:
            known: endings of files that are read for something else, such as captions.
        """
        kinds = [(count, kind) for kind, count in self.left_out.items() if kind not in known]
        kinds.sort(key=lambda one: (-one[0], one[1]))
        said = []
        if kinds:
            named = [f"{count} {kind}" for count, kind in kinds[:MOST_KINDS]]
            if len(kinds) > MOST_KINDS:
                named.append(f"{sum(count for count, _ in kinds[MOST_KINDS:])} of other kinds")
            said.append(f"{counted(sum(count for count, _ in kinds), 'file')} left out: {', '.join(named)}")
        if self.again:
            said.append(f"{counted(self.again, 'link')} to media or folders that are there already left out")
        return said


def walk(folder: Path, suffixes: Collection[str] = SUFFIXES) -> Walk:
    """Goes through a folder and what links in it lead to.

    A folder is walked once, by its identity on the disk, however many links lead to it: under its own name if it lies
    in the folder itself. A link to a medium that lies in the folder itself is the same medium; links to files elsewhere
    are media of their own, as in folders that a version control fills with links.

    Args:
        folder: an existing folder.
        suffixes: endings of the files that are searched for, in small letters.
    """
    found = Walk(suffixes)
    seen: set[tuple[int, int]] = set()
    links: list[PurePosixPath] = []
    folders, linked = deque([PurePosixPath()]), deque[PurePosixPath]()
    while folders or linked:
        here = folders.popleft() if folders else linked.popleft()
        try:
            status = os.stat(folder / here)
            if (status.st_dev, status.st_ino) in seen:
                found.again += 1
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder / here) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            found.faults.append((Path(here), _reason(error)))
            found.unfit.append(Path(here))
            continue
        for entry in ordered:
            if not entry.name.startswith("."):
                _sort(entry, here / entry.name, found, folders, linked, links)
    _without_links_to_own(folder, found, links)
    found.files.sort(key=lambda path: path.as_posix())
    return found


def _sort(
    entry: os.DirEntry[str],
    path: PurePosixPath,
    found: Walk,
    folders: deque[PurePosixPath],
    linked: deque[PurePosixPath],
    links: list[PurePosixPath],
) -> None:
    suffix = PurePosixPath(entry.name).suffix.lower()
    try:
        is_folder, is_file, is_link = entry.is_dir(), entry.is_file(), entry.is_symlink()
    except OSError as error:
        found.faults.append((Path(path), _reason(error)))
        found.unfit.append(Path(path))
        return
    lost = is_link and not is_folder and not is_file and not os.path.exists(entry.path)
    special = not is_folder and not is_file and not lost
    if special or lost or not _is_utf8(entry.name):
        found.unfit.append(Path(path))
    if special:
        found.left_out[SPECIAL] += 1
    elif not is_folder and suffix not in found.suffixes:
        found.left_out[suffix if suffix.isprintable() and suffix else NO_SUFFIX] += 1
    elif not _is_utf8(entry.name):
        found.faults.append((Path(path), NOT_UTF8))
    elif is_folder:
        (linked if is_link else folders).append(path)
    else:
        found.files.append(Path(path))
        if is_link and is_file:
            links.append(path)


def _without_links_to_own(folder: Path, found: Walk, links: list[PurePosixPath]) -> None:
    if not links:
        return
    root, files = os.path.realpath(folder), set(found.files)
    own = files - {Path(link) for link in links}
    for link in links:
        target = Path(os.path.realpath(folder / link))
        if target.is_relative_to(root) and target.relative_to(root) in own:
            files.remove(Path(link))
            found.again += 1
    found.files = list(files)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "a link to itself"
    return "no permission to read" if isinstance(error, PermissionError) else f"cannot be read ({error.strerror})"
