"""The media of a corpus: found by what annotations call them, and opened once for their digest and headers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from string import Formatter

from cache.digests import DigestMemory
from cache.errors import UserError
from pipeline.console.text import did_you_mean
from pipeline.formats.text import fault_of_text
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import DEFAULT, SUFFIXES, Limits, MediaError
from pipeline.media.location import MediaPlace, local
from pipeline.media.members import Packed
from pipeline.media.probe import MediaInfo, probe, recalled, remember, within
from pipeline.media.unchanged import ingested
from pipeline.remote.address import RemoteFile, is_url, path_of
from pipeline.remote.staging import Staging, resolved
from stages.ingest.shots import ShotFinder
from stages.ingest.tables import Medium


@dataclass(frozen=True)
class MediaOpener:
    """Opens the media of a corpus; may be used by many threads.

    Attributes:
        location: folder or list of the media.
        memory: remembers digests, and what the bytes of a digest hold, so that they are read through once.
        audio: store for the audio of a remote medium while it is staged, so that it need not be fetched again.
        with_audio: media whose audio belongs to a clip.
        limits: what a medium may claim to be.
        shots: finds the boundaries of shots, of media that are to be cut at them.
    """

    location: MediaPlace
    memory: DigestMemory
    audio: AudioStore
    with_audio: Set[Path]
    limits: Limits = DEFAULT
    shots: ShotFinder | None = None

    def open(self, path: Path) -> Medium:
        """Digest and headers of one medium. A remote one is fetched only if it is new or has changed.

        Raises:
            MediaError: it cannot be fetched, or is no medium.
            OSError: it cannot be read.
            UserError: it cannot be staged.
        """
        source = self.location.source(path.as_posix())
        if isinstance(source, Packed):
            raise MediaError("packed into another file: its corpus needs `reader: webdataset` or `huggingface`")
        if isinstance(source, Path):
            medium = ingested(source, self.memory)
            info = recalled(self.memory, medium.digest)
            if info is None:
                info = probe(source, self.limits)
                medium.check()
                if info.frames and (first := medium.folder_frames(info.frames[:1], clamp=False)):
                    first.check(info.frames[0])
                remember(self.memory, medium.digest, info)
            info = within(info, self.limits)
            return Medium(medium.digest, info, self._boundaries(source, medium.digest, info, medium.check))
        return self._remote(resolved(source), path in self.with_audio)

    def complete(self, path: Path, known: Medium | str) -> Medium | str:
        """What a reader has found out of a medium on its way, with the boundaries of its shots if it is cut at them.

        Raises:
            MediaError: it cannot be had any more.
        """
        if isinstance(known, str) or self.shots is None:
            return known
        boundaries = self.shots.recalled(known.digest, known.info)
        if boundaries is None:
            with local(self.location.source(path.as_posix()), known.digest) as file:
                boundaries = self._boundaries(file, known.digest, known.info)
        return replace(known, boundaries_s=boundaries)

    def _remote(self, source: RemoteFile, with_audio: bool) -> Medium:
        digest = self.memory.recall(source.identity, source.size, source.version) if source.version else None
        known = recalled(self.memory, digest) if digest else None
        if digest and known and (self.shots is None or self.shots.recalled(digest, known) is not None):
            known = within(known, self.limits)
            return Medium(digest, known, self._boundaries(None, digest, known))
        with Staging.default(self.memory).held(source) as staged:
            info = recalled(self.memory, staged.digest) or probe(staged.path, self.limits)
            remember(self.memory, staged.digest, info)
            if with_audio and info.audio is not None:
                if info.kind:
                    self.audio.kinds[staged.digest] = info.kind
                with suppress(MediaError):  # extract_audio reports it
                    self.audio.ensure(staged.digest, staged.path)
            info = within(info, self.limits)
            return Medium(staged.digest, info, self._boundaries(staged.path, staged.digest, info))

    def _boundaries(
        self, source: Path | None, digest: str, info: MediaInfo, check: Callable[[], None] = lambda: None
    ) -> tuple[float, ...]:
        """Where shots begin, found once: nowhere in media that are not cut at them.

        Args:
            source: the medium; None if it is known that nothing need be read.
            digest: of its bytes.
            info: what it holds.
            check: makes sure that these bytes were read.
        """
        if self.shots is None:
            return ()
        known = self.shots.recalled(digest, info)
        if known is None and source is not None:
            known = self.shots.find(source, info)
            check()
            self.shots.remember(digest, known)
        return known or ()


FIELDS = ("participant", "video", "chunk")


class MediaLayout:
    """Finds the files of videos below a media folder.

    Args:
        media: the media folder or list.
        kind: `audio` or `frames`, for messages and the key below `files:`.
        patterns: relative paths with {participant}, {video} and {chunk}; the first that exists is taken.

    Raises:
        UserError: a pattern has an unknown placeholder.
    """

    def __init__(self, media: MediaPlace, kind: str, patterns: Sequence[str]) -> None:
        self._media, self._kind, self._patterns = media, kind, patterns
        self._found: dict[tuple[str, ...], Path | None] = {}
        for pattern in patterns:
            for _, name, _, _ in Formatter().parse(pattern):
                if name is not None and name not in FIELDS:
                    raise UserError(f"files.{kind}: {pattern!r} has {{{name}}}, {did_you_mean(name, FIELDS)}")

    def whole(self, video: str, participant: str = "") -> Path | None:
        """The medium of a whole video, by its path in the media folder; None if no pattern without {chunk} exists."""
        return self._find(video, participant, "")

    def chunk(self, video: str, number: int, participant: str = "") -> Path | None:
        """One piece of a video that has been cut into pieces; None if no pattern with {chunk} exists."""
        return self._find(video, participant, str(number))

    def _find(self, video: str, participant: str, chunk: str) -> Path | None:
        key = (video, participant, chunk)
        if key not in self._found:
            paths = (
                Path(pattern.format(video=video, participant=participant, chunk=chunk))
                for pattern in self._patterns
                if ("{chunk}" in pattern) == bool(chunk)
            )
            self._found[key] = next((path for path in paths if self._media.has(path)), None)
        return self._found[key]

    def report(self, missing: Sequence[str], n_videos: int) -> tuple[list[tuple[str, str, str]], list[str]]:
        """Messages about videos that were not found: (faults, notes).

        Where some are missing, each is a fault; where all are, the corpus is used without, and one note says so.

        Args:
            missing: names of the videos or pieces.
            n_videos: how many were searched for.
        """
        if not missing or not self._patterns:
            return [], []
        searched = " or ".join(self._patterns)
        if len(missing) < n_videos:
            return [(name, "", f"no {self._kind}: {self._media} has no {searched}") for name in missing], []
        return [], [f"no {self._kind} of any video: {self._media} has no {searched} (as in {missing[0]})"]


def with_margins(start_s: float, stop_s: float, left_s: float, right_s: float) -> tuple[float, float]:
    """A clip of a whole file and its margins: the right one always, the left one whole or not at all.

    Args:
        start_s: start of the clip.
        stop_s: its end.
        left_s: seconds before it; left away if the file has fewer.
        right_s: seconds after it; the caller cuts them at the end of the file.

    Returns:
        (start, duration) in seconds.
    """
    duration = stop_s - start_s + right_s
    return (start_s - left_s, duration + left_s) if start_s - left_s >= 0 else (start_s, duration)


def in_pieces(
    start_s: float, stop_s: float, chunk_s: float, left_s: float = 0.0, right_s: float = 0.0
) -> list[tuple[int, float, float | None]]:
    """A clip of a video that has been cut into pieces of equal length, and its margins.

    The margins are those of the original code, which compares times in a piece with the end and the start of the piece
    in the video: the right one is always added but in the first piece, where it must fit; the left one is added in the
    first piece only, and to the second piece as well if the clip goes on there.

    Args:
        start_s: start of the clip, in the whole video.
        stop_s: its end.
        chunk_s: length of a piece.
        left_s: seconds before the clip.
        right_s: seconds after it.

    Returns:
        (number of the piece, start in it, duration) in playing order; None lasts to the end of the piece.
    """
    first, last = int(start_s // chunk_s), int(stop_s // chunk_s)
    start = start_s - first * chunk_s
    duration = stop_s - (start_s if first == last else last * chunk_s)
    if (start if first == last else 0.0) + duration + right_s <= (last + 1) * chunk_s:
        duration += right_s
    if start - left_s >= first * chunk_s:
        start -= left_s
        duration += left_s
    if first == last:
        return [(first, start, duration)]
    between = [(number, 0.0, None) for number in range(first + 1, last)]
    return [(first, start, None), *between, *([(last, 0.0, duration)] if duration > 0 else [])]


MOST_LETTERS = 1024
"""Longer names are taken as they stand: time grows with the square of a name's accents."""

_FOREIGN = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class MediaNames:
    """Finds media by what a table calls them.

    Args:
        media: folder or list of the media.
    """

    def __init__(self, media: MediaPlace) -> None:
        self._media = media
        self._found: dict[str, Path] = {}

    def path(self, name: str) -> Path:
        """The path of a medium in its location; it need not exist, unless the name stands for several.

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
