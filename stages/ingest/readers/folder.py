"""Reader `folder`: any directory of videos and sounds, with captions in a listing, in subtitles, in text files
beside the media or in the file names."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.counted import counted
from stages.ingest import listing, subtitles
from stages.ingest.annotations import Annotations, Segment

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv", ".3gp", ".ogv")
)
AUDIO_SUFFIXES = frozenset(
    (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".ac3")
)


def media_files(folder: Path) -> list[Path]:
    """Media files below a folder, by suffix, relative to it, sorted; hidden files and folders are left out.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"The media folder {folder} does not exist: correct `media:` in params.yaml.")
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in VIDEO_SUFFIXES | AUDIO_SUFFIXES:
                found.append(path.relative_to(folder))
    return sorted(found, key=lambda path: path.as_posix())


def read(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Finds the segments and captions of the folder.

    Raises:
        UserError: the listing is missing or of an unknown kind.
    """
    files = media_files(place.media)
    if config.captions_from == "listing":
        return _from_listing(place, files)
    if config.captions_from == "subtitles":
        return _from_subtitles(place, files)
    captions_of = _captions_in_text if config.captions_from == "text" else _caption_in_name
    return Annotations([Segment(file, captions_of(place.media / file)) for file in files])


def _from_listing(place: CorpusPlace, files: list[Path]) -> Annotations:
    path = place.annotations
    if path.suffix.lower() not in listing.SUFFIXES or not path.is_file():
        raise UserError(
            f"{path} is no caption listing ({', '.join(listing.SUFFIXES)}): correct `annotations:` in params.yaml, or "
            "set `captions_from:` to subtitles, text or filename in the corpus config."
        )
    annotations = listing.read_listing(path, place.media)
    unlisted = set(files) - {segment.media for segment in annotations.segments}
    if unlisted:
        annotations.remarks.append(
            f"{counted(len(unlisted), 'media file')} in {place.media} without a row in {path.name} left out"
        )
    return annotations


def _from_subtitles(place: CorpusPlace, files: list[Path]) -> Annotations:
    annotations = Annotations()
    _cue_files.cache_clear()
    for file in files:
        cue_file = _subtitles_of(file, place)
        if cue_file is None:
            annotations.segments.append(Segment(file))
            continue
        try:
            cues, faults = subtitles.read_cues(cue_file)
        except UserError as error:
            cues, faults = [], [str(error)]
        annotations.faults += [(file.as_posix(), str(cue_file), reason) for reason in faults]
        annotations.segments += [Segment(file, (c.text,), c.start_s, c.stop_s, cue_file.name) for c in cues]
        if not cues:
            annotations.segments.append(Segment(file))
    return annotations


def _subtitles_of(file: Path, place: CorpusPlace) -> Path | None:
    """Subtitles beside the medium (`talk.srt`, `talk.en.vtt`), or of the same stem where the annotations lie."""
    beside = place.media / file
    folders = [beside.parent]
    if place.annotations.is_dir():
        folders.append(place.annotations)
    elif place.annotations.suffix.lower() in subtitles.SUFFIXES and place.annotations.stem == file.stem:
        return place.annotations
    return next((found for folder in folders if (found := _cue_files(folder).get(file.stem))), None)


@lru_cache
def _cue_files(folder: Path) -> dict[str, Path]:
    """The first subtitles that are named after each stem: `talk.en.vtt` is so after `talk` and `talk.en`."""
    found: dict[str, Path] = {}
    for one in sorted(folder.iterdir(), reverse=True):
        if one.suffix.lower() in subtitles.SUFFIXES:
            parts = one.name.split(".")
            found |= {".".join(parts[:n]): one for n in range(1, len(parts))}
    return found


def _captions_in_text(path: Path) -> tuple[str, ...]:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return ()
    lines = beside.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _caption_in_name(path: Path) -> tuple[str, ...]:
    words = re.sub(r"[_\-\s]+", " ", path.stem).strip()
    return (words,) if words else ()
