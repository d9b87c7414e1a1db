"""Reader `folder`: any directory of videos and sounds, with captions in a listing, in subtitles, in text files
beside the media or in the file names."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.counted import counted
from pipeline.media_place import MediaPlace, open_place
from pipeline.problems import problem_of
from pipeline.text.decoding import PER_MEDIUM, fault_of_text, read_text
from stages.ingest import listing, subtitles
from stages.ingest.annotations import Annotations, Segment


def read(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Finds the segments and captions of the media in the folder, or in the media list.

    Texts and subtitles lie beside the media; those of remote media where the annotations lie.

    Raises:
        UserError: the listing is missing or of an unknown kind.
    """
    media = open_place(place.media)
    annotations = _found(place, config, media, media.files())
    annotations.faults += [(path.as_posix(), str(path), reason) for path, reason in media.faults()]
    annotations.remarks += media.remarks(known=(*listing.SUFFIXES, *subtitles.SUFFIXES, ".txt"))
    return annotations


def _found(place: CorpusPlace, config: CorpusConfig, media: MediaPlace, files: list[Path]) -> Annotations:
    if config.captions_from == "listing":
        return _from_listing(place, media, files)
    if config.captions_from == "subtitles":
        return _from_subtitles(place, media, files)
    if config.captions_from == "filename":
        return Annotations([Segment(file, _caption_in_name(file)) for file in files])
    return _from_texts(place, media, files)


def _folders(file: Path, place: CorpusPlace, media: MediaPlace) -> list[Path]:
    """Where texts of a medium may lie."""
    folders = [] if media.folder is None else [(media.folder / file).parent]
    return folders + [place.annotations] * place.annotations.is_dir()


def _from_listing(place: CorpusPlace, media: MediaPlace, files: list[Path]) -> Annotations:
    path = place.annotations
    if path.suffix.lower() not in listing.SUFFIXES or not path.exists():
        raise UserError(
            f"{path} is no caption listing ({', '.join(listing.SUFFIXES)}): correct `annotations:` in params.yaml, or "
            "set `captions_from:` to subtitles, text or filename in the corpus config."
        )
    annotations = listing.read_listing(path, media)
    unlisted = set(files) - {segment.media for segment in annotations.segments}
    if unlisted:
        annotations.remarks.append(
            f"{counted(len(unlisted), 'media file')} in {media} without a row in {path.name} left out"
        )
    return annotations


def _from_subtitles(place: CorpusPlace, media: MediaPlace, files: list[Path]) -> Annotations:
    annotations = Annotations()
    _cue_files.cache_clear()
    for file in files:
        cue_file = _subtitles_of(file, place, _folders(file, place, media))
        if cue_file is None:
            annotations.segments.append(Segment(file))
            continue
        try:
            cues, faults = subtitles.read_cues(cue_file)
        except Exception as error:  # one file of captions must not stop the others
            cues, faults = [], [str(error) if isinstance(error, UserError) else problem_of(error)]
        annotations.faults += [(file.as_posix(), str(cue_file), reason) for reason in faults]
        annotations.segments += [Segment(file, (c.text,), c.start_s, c.stop_s, cue_file.name) for c in cues]
        if not cues:
            annotations.segments.append(Segment(file))
    given = place.annotations
    if given.suffix.lower() in subtitles.SUFFIXES and not any(file.stem in _stems(given) for file in files):
        annotations.remarks.append(f"{given} is named after none of the media: call it like the one it belongs to")
    return annotations


def _subtitles_of(file: Path, place: CorpusPlace, folders: list[Path]) -> Path | None:
    """Subtitles beside the medium (`talk.srt`, `talk.en.vtt`), or of the same stem where the annotations lie."""
    if place.annotations.suffix.lower() in subtitles.SUFFIXES and file.stem in _stems(place.annotations):
        return place.annotations
    return next((found for folder in folders if (found := _cue_files(folder).get(file.stem))), None)


@lru_cache
def _cue_files(folder: Path) -> dict[str, Path]:
    """The first subtitles that are named after each stem."""
    found: dict[str, Path] = {}
    kinds = {suffix: suffix not in subtitles.SUFFIXES[:2] for suffix in subtitles.SUFFIXES}  # SRT and VTT before others
    present = [one for one in folder.iterdir() if one.suffix.lower() in kinds]
    for one in sorted(present, key=lambda one: (kinds[one.suffix.lower()], one), reverse=True):
        found |= dict.fromkeys(_stems(one), one)
    return found


def _stems(path: Path) -> list[str]:
    """Of which media subtitles may be: `talk.en.vtt` of `talk` and `talk.en`."""
    parts = path.name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _from_texts(place: CorpusPlace, media: MediaPlace, files: list[Path]) -> Annotations:
    annotations = Annotations()
    for file in files:
        texts = (folder / f"{file.stem}.txt" for folder in _folders(file, place, media))
        path = next((text for text in texts if text.exists()), None)
        captions, reasons = ((), []) if path is None else _captions_in(path)
        annotations.segments.append(Segment(file, captions))
        annotations.faults += [(file.as_posix(), str(path), reason) for reason in reasons]
    return annotations


def _captions_in(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """The lines of a text file, each once, and why others are no captions."""
    try:
        lines = read_text(path, "text file", PER_MEDIUM).text.splitlines()
    except UserError as error:
        return (), [str(error)]
    captions: dict[str, None] = {}
    faults = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if reason := fault_of_text(line):
            faults.append(f"line {number}: {reason}")
        elif line:
            captions[line] = None
    return tuple(captions), faults


def _caption_in_name(path: Path) -> tuple[str, ...]:
    words = re.sub(r"[_\-\s]+", " ", path.stem).strip()
    return (words,) if words else ()
