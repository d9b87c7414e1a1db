"""The media of clips that annotations know by an id: found by the end of a path, whatever the folder and the ending."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import NamedTuple

from cache.errors import UserError
from pipeline.console.text import did_you_mean
from pipeline.media.containers import AUDIO_SUFFIXES, SUFFIXES
from pipeline.media.location import MediaPlace

CUT_FIELDS = ("start", "stop", "start_06", "stop_06", "start_ms", "stop_ms")
"""Placeholders that only the name of a clip cut out of a video can have: its seconds there, those in six digits (as in
names of Kinetics and VATEX), and milliseconds."""


class Found(NamedTuple):
    """The files of a clip: of its audio and of its frames, most often the same."""

    audio: Path
    frames: Path


def cut_names(start_s: float, stop_s: float) -> dict[str, str]:
    """Values of the placeholders `CUT_FIELDS`."""
    forms: list[Callable[[float], str]] = [
        lambda second: f"{second:.12g}",
        lambda second: f"{second:06.0f}",
        lambda second: f"{second * 1000:.0f}",
    ]
    values = [form(second) for form in forms for second in (start_s, stop_s)]
    return dict(zip(CUT_FIELDS, values, strict=True))


class ClipMedia:
    """Finds the media of clips.

    Args:
        media: where they lie.
        patterns: what the file of a clip may be called, e.g. `{subset}/{clip}` or `Y{video}`: the end of its path,
            without its ending; the first of which there is a file is taken.
        fields: placeholders that the patterns may have.
        whole_videos: whether the media are whole videos; patterns with a placeholder of `CUT_FIELDS` are left out.

    Raises:
        UserError: a pattern has an unknown placeholder, or there is none.
    """

    def __init__(
        self, media: MediaPlace, patterns: Sequence[str], fields: Sequence[str], whole_videos: bool = False
    ) -> None:
        self._media = media
        self.patterns = []
        for pattern in patterns:
            used = [name for _, name, _, _ in Formatter().parse(pattern) if name is not None]
            for name in used:
                if name not in fields:
                    raise UserError(f"files.media: {pattern!r} has {{{name}}}, {did_you_mean(name, fields)}")
            if not whole_videos or not set(used) & set(CUT_FIELDS):
                self.patterns.append(pattern)
        if not self.patterns:
            raise UserError(
                "files.media of the corpus config does not say what the media are called: add a pattern such as "
                f"'{{{fields[0]}}}'."
            )

    def find(self, names: Mapping[str, str]) -> Found | None:
        """The media of a clip; None if there are none.

        Of an audio file and a video file of the same name, the audio and the frames are taken.

        Args:
            names: values of the placeholders.

        Raises:
            ValueError: several files have the name.
        """
        for pattern in self.patterns:
            paths = self._by_end.get(_key(pattern.format_map(names)), [])
            if not paths:
                continue
            audio = [path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES]
            video = [path for path in paths if path.suffix.lower() not in AUDIO_SUFFIXES]
            if len(audio) > 1 or len(video) > 1:
                listed = ", ".join(path.as_posix() for path in paths[:5])
                raise ValueError(f"its medium may be any of {listed}: keep one, or name its folder in `files.media`")
            return Found((audio or video)[0], (video or audio)[0])
        return None

    def searched(self) -> str:
        """What was searched for, for messages."""
        return f"{self._media} has no {' or '.join(self.patterns)}"

    @cached_property
    def _by_end(self) -> dict[str, list[Path]]:
        """The media of each end of a path, from a folder on, without its ending and with it."""
        found: dict[str, list[Path]] = {}
        for path in self._media.files():
            parts = PurePosixPath(_key(path.as_posix())).parts
            for first in range(len(parts)):
                end = "/".join(parts[first:])
                found.setdefault(end, []).append(path)
                found.setdefault(_without_ending(end), []).append(path)
        return found


def _without_ending(name: str) -> str:
    """Without the ending of a medium; `ID_10.5` has none."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot and f".{ending.lower()}" in SUFFIXES else name


def _key(name: str) -> str:
    """What is the same in all spellings of a name: disks of a Mac hold an umlaut as two characters."""
    return unicodedata.normalize("NFC", name)
