"""Which medium a row of a caption table means: by its path, its URL, or its name without the ending."""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property
from pathlib import Path

from pipeline.media.containers import SUFFIXES
from pipeline.media_place import MediaPlace
from pipeline.remote.address import is_url, path_of
from pipeline.text.decoding import fault_of_text

MOST_LETTERS = 1024
"""Longer names are taken as they stand: time grows with the square of a name's accents."""

_FOREIGN = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class MediaNames:
    """Finds media by what a table calls them.

    Args:
        media: where they lie.
    """

    def __init__(self, media: MediaPlace) -> None:
        self._media = media
        self._found: dict[str, Path] = {}

    def path(self, name: str) -> Path:
        """The path of a medium in its place; it need not exist, unless the name stands for several.

        Paths in the media folder become relative to it. Back slashes are slashes and a name without an ending is that
        of the one medium of that name, where there is none of exactly this name.

        Raises:
            ValueError: no path can be made of this name, or it stands for more than one medium.
        """
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self._path(name)
        return found

    def is_name(self, cell: str) -> bool:
        """Whether a cell can be meant as the name of a medium: a URL, a file of a known kind, or a known name."""
        return cell in self._found or has_media_ending(cell) or (bool(cell) and (is_url(cell) or self.finds(cell)))

    def finds(self, name: str) -> bool:
        """Whether there is a medium of this name, with or without its ending."""
        return _key(name) in self._by_name or (has_media_ending(name) and self._media.has(Path(name)))

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        """The media of each path, path without ending and name without ending."""
        found: dict[str, list[Path]] = {}
        for path in self._media.files():
            for name in {path.as_posix(), path.with_suffix("").as_posix(), path.stem}:
                found.setdefault(_key(name), []).append(path)
        return found

    def _path(self, name: str) -> Path:
        if not name:
            raise ValueError("no file is named")
        if is_url(name):
            return self._media.path_of(name) or path_of(name)
        if reason := fault_of_text(name):
            raise ValueError(reason.replace("the text", "the name of the file", 1))
        path = self._relative(Path(name))
        with_ending = has_media_ending(name)
        if (with_ending and "\\" not in name and name.isascii()) or self._media.has(path):
            return path
        if _FOREIGN.match(name):
            raise ValueError(f"{name!r} is a path of another machine: write it relative to the media folder")
        name = name.replace("\\", "/")
        candidates = self._by_name.get(_key(name), [])
        if with_ending:
            candidates = [path for path in candidates if _key(path.as_posix()) == _key(name)]
        if len(candidates) > 1:
            listed = ", ".join(path.as_posix() for path in candidates[:5])
            raise ValueError(f"{name!r} may be any of {listed}: write which, with its ending")
        return candidates[0] if candidates else self._relative(Path(name))

    def _relative(self, path: Path) -> Path:
        if path.is_absolute() and self._media.folder is not None:
            folder = self._media.folder.resolve()
            return path.relative_to(folder) if path.is_relative_to(folder) else path
        return path


def _key(name: str) -> str:
    """What is the same in all spellings of a name: disks of a Mac hold an umlaut as two characters."""
    name = name.replace("\\", "/")
    return name if len(name) > MOST_LETTERS else unicodedata.normalize("NFC", name)


def has_media_ending(name: str) -> bool:
    """Whether a name ends like a medium."""
    return "." + name.rpartition(".")[2].lower() in SUFFIXES
