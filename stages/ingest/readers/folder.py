"""Reader `folder`: any directory of video and audio files, with captions in a listing, in subtitles, in text files
beside the media or in the file names."""

from __future__ import annotations

import re
from pathlib import Path

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.console.text import counted
from pipeline.formats.delimited import lines_of
from pipeline.formats.text import PER_MEDIUM, fault_of_caption, read_text
from pipeline.media.location import MediaPlace, open_place
from pipeline.monitor.problems import problem_of
from stages.ingest import listing, subtitles
from stages.ingest.annotations import Annotations, Segment


def read(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Finds the segments and captions of the media in the folder, or in the media list.

    Texts and subtitles lie beside the media; those of remote media where the annotations lie.

    Raises:
        UserError: the listing is missing or of an unknown kind.
    """
    media = open_place(place.media)
    annotations = _captioned(place, config, media, media.files())
    annotations.faults += [(path.as_posix(), str(path), reason) for path, reason in media.faults()]
    annotations.notes += media.notes(known=(*listing.SUFFIXES, *subtitles.SUFFIXES, ".txt"))
    n_timed = sum(one.start_s is not None or one.stop_s is not None for one in annotations.segments)
    if n_timed and config.hop_s is not None and config.clips_from == "captions":
        annotations.notes.append(
            f"hop_s plays no part for {counted(n_timed, 'segment')} with times, which are clips of their own unless "
            "the corpus has `clips_from: windows`"
        )
    return annotations


def _captioned(place: CorpusPlace, config: CorpusConfig, media: MediaPlace, files: list[Path]) -> Annotations:
    if config.captions_from == "listing":
        return _from_listing(place, config, media, files)
    if config.captions_from == "subtitles":
        return _from_subtitles(place, media, files)
    if config.captions_from == "filename":
        return Annotations([Segment(file, _caption_in_name(file)) for file in files])
    return _from_texts(place, media, files)


def _from_listing(place: CorpusPlace, config: CorpusConfig, media: MediaPlace, files: list[Path]) -> Annotations:
    path = place.annotations
    if path.suffix.lower() not in listing.SUFFIXES or not path.exists():
        raise UserError(
            f"{path} is no caption listing ({', '.join(listing.SUFFIXES)}): correct `annotations:` in params.yaml, or "
            "set `captions_from:` to subtitles, text or filename in the corpus config."
        )
    annotations = listing.read_listing(path, media, config.classes)
    unlisted = set(files) - {segment.media for segment in annotations.segments}
    if unlisted:
        annotations.notes.append(
            f"{counted(len(unlisted), 'media file')} in {media} without a row in {path.name} left out"
        )
    return annotations


def _from_subtitles(place: CorpusPlace, media: MediaPlace, files: list[Path]) -> Annotations:
    annotations = Annotations()
    beside = Beside(media, files, place.annotations)
    n_without = 0
    given = place.annotations if place.annotations.suffix.lower() in subtitles.SUFFIXES else None
    for file in files:
        cue_file = given if given and file.stem in _stems(given) else beside.subtitles(file)
        if cue_file is None:
            n_without += 1
            annotations.segments.append(Segment(file))
            continue
        try:
            cues, faults = subtitles.read_cues(cue_file)
        except Exception as error:  # one file of captions must not stop the others
            cues, faults = [], [_reason(error, cue_file)]
        annotations.faults += [(file.as_posix(), str(cue_file), reason) for reason in faults]
        annotations.segments += [Segment(file, (c.text,), c.start_s, c.stop_s, cue_file.name) for c in cues]
        if not cues:
            annotations.segments.append(Segment(file))
    if given and not any(file.stem in _stems(given) for file in files):
        annotations.notes.append(f"{given} is named after none of the media: call it like the one it belongs to")
    elif n_without:
        annotations.notes.append(f"{counted(n_without, 'media file')} without a subtitle file")
    if beside.ambiguous:
        annotations.notes.append(
            f"{counted(len(beside.ambiguous), 'media file')} with several subtitle files, of which the first is taken "
            f"({beside.ambiguous[0].name}): move the others away if that is wrong"
        )
    return annotations


def _from_texts(place: CorpusPlace, media: MediaPlace, files: list[Path]) -> Annotations:
    annotations = Annotations()
    beside = Beside(media, files, place.annotations)
    n_without = 0
    for file in files:
        path = beside.text(file)
        n_without += path is None
        captions, reasons = ((), []) if path is None else _captions_in(path)
        annotations.segments.append(Segment(file, captions))
        annotations.faults += [(file.as_posix(), str(path), reason) for reason in reasons]
    if n_without:
        annotations.notes.append(f"{counted(n_without, 'media file')} without a text file")
    return annotations


class Beside:
    """Files that are named after media and lie beside them, or elsewhere.

    Args:
        media: where the media lie.
        files: the media.
        elsewhere: a folder in which such files may lie, too.

    Attributes:
        ambiguous: the subtitles that were taken of media that have several.
    """

    def __init__(self, media: MediaPlace, files: list[Path], elsewhere: Path | None = None) -> None:
        self._media = media
        self._elsewhere = [elsewhere] if elsewhere is not None and elsewhere.is_dir() else []
        self._stems: dict[Path, set[str]] = {}
        for file in files:
            self._stems.setdefault(file.parent, set()).add(file.stem)
        self._listed: dict[Path, dict[str, list[Path]]] = {}
        self.ambiguous: list[Path] = []

    def subtitles(self, file: Path) -> Path | None:
        """`talk.srt` or `talk.en.vtt`, unless there is a medium `talk.en`; SRT and VTT before others."""
        for folder in self._folders(file):
            media_stems = self._stems[file.parent]
            found = [
                path
                for path in self._files(folder).get(file.stem, ())
                if path.suffix.lower() in subtitles.SUFFIXES
                and not any(len(stem) > len(file.stem) and stem in media_stems for stem in _stems(path))
            ]
            if len(found) > 1:
                self.ambiguous.append(found[0])
            if found:
                return found[0]
        return None

    def text(self, file: Path) -> Path | None:
        """`talk.txt`."""
        paths = (path for folder in self._folders(file) for path in self._files(folder).get(file.stem, ()))
        return next((path for path in paths if path.suffix.lower() == ".txt" and path.stem == file.stem), None)

    def _folders(self, file: Path) -> list[Path]:
        folders = [] if self._media.folder is None else [(self._media.folder / file).parent]
        return folders + self._elsewhere

    def _files(self, folder: Path) -> dict[str, list[Path]]:
        """The files of a folder by each stem that they may be named after, those to be preferred first."""
        if folder not in self._listed:
            found: dict[str, list[Path]] = {}
            paths = [path for path in folder.iterdir() if path.suffix.lower() in (*subtitles.SUFFIXES, ".txt")]
            for path in sorted(paths, key=lambda path: (path.suffix.lower() not in subtitles.SUFFIXES[:2], path)):
                for stem in _stems(path):
                    found.setdefault(stem, []).append(path)
            self._listed[folder] = found
        return self._listed[folder]


def _stems(path: Path) -> list[str]:
    """Of which media subtitles may be: `talk.en.vtt` of `talk` and `talk.en`."""
    parts = path.name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _reason(error: Exception, path: Path) -> str:
    """What is wrong with a file, without its name, which stands beside it."""
    return str(error).replace(f"{path} ", "", 1) if isinstance(error, UserError) else problem_of(error)


def _captions_in(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """The lines of a text file, each once, and why others are no captions."""
    try:
        lines = lines_of(read_text(path, "text file", PER_MEDIUM).text)
    except UserError as error:
        return (), [_reason(error, path)]
    captions: dict[str, None] = {}
    faults = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if reason := fault_of_caption(line):
            faults.append(f"line {number}: {reason}")
        elif line:
            captions[line] = None
    return tuple(captions), faults


def _caption_in_name(path: Path) -> tuple[str, ...]:
    words = re.sub(r"[_\-\s]+", " ", path.stem).strip()
    return (words,) if words else ()
