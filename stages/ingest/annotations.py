"""What a reader finds in the annotation files of a corpus, before any medium is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from cache import tables as schemas
from cache.keys import caption_keys, unpack_keys
from pipeline.config.corpus import CorpusConfig
from pipeline.media.containers import MediaError
from pipeline.media.times import fixed_windows
from pipeline.monitor.problems import Problems


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a media file and the captions that describe it; one without times may be cut into windows.

    Attributes:
        media: path relative to the media folder.
        captions: zero or more texts.
        start_s: start in seconds; None for a file without clip times.
        stop_s: end in seconds, exclusive; None for the end of the file.
        where: place in the annotation file, for messages.
    """

    media: Path
    captions: tuple[str, ...] = ()
    start_s: float | None = None
    stop_s: float | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a media file that a clip is made of.

    Attributes:
        media: path relative to the media folder; a file, or a folder of frames.
        start_s: start in seconds.
        stop_s: end in seconds, exclusive; None for the end of the file, or where there is a duration.
        duration_s: seconds from the start on, for sound: start and duration are each cut down to whole samples of the
            file, as librosa does in the original code.
        start_frame: number of the first frame, where the annotations count frames.
        stop_frame: number of the last one, likewise.
    """

    media: Path
    start_s: float = 0.0
    stop_s: float | None = None
    duration_s: float | None = None
    start_frame: int | None = None
    stop_frame: int | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a clip comes from whose features are published and whose media need not be there.

    Attributes:
        video: name of the video.
        start_s: start in it, in seconds.
        stop_s: end in it; 0 if that is not known.
    """

    video: str
    start_s: float = 0.0
    stop_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AnnotatedClip:
    """A clip that the annotations name, with the places of its sound and of its pictures, in playing order.

    A clip with an `origin` is one even without media.
    """

    id: str
    sound: tuple[Stretch, ...] = ()
    picture: tuple[Stretch, ...] = ()
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Caption:
    """A text and where it comes from (`given`, `visual`, `gpt`)."""

    caption_id: str
    text: str
    source: str


@dataclass(frozen=True)
class Question:
    """A multiple-choice question; see `cache.tables.QUESTIONS`."""

    question_id: str
    caption_id: str
    clip_ids: list[str]
    answer: int
    type: str


@dataclass
class Annotations:
    """All that the annotation files of a corpus say, in the order of its tables.

    Attributes:
        segments: what to make clips of, for media that are not annotated clip by clip.
        source: caption source of the segments.
        clips: clips by name.
        captions: texts by name.
        pairs: (clip id, caption id) of the texts that describe each clip.
        relevancy: a frame of the schema `RELEVANCY`.
        questions: multiple-choice questions.
        subsets: (subset, kind, id).
        faults: (id, path, reason) of annotation rows that cannot be used.
        remarks: what else the user should know, for the summary line.
    """

    segments: list[Segment] = field(default_factory=list)
    source: str = "given"
    clips: list[AnnotatedClip] = field(default_factory=list)
    captions: list[Caption] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    relevancy: pl.DataFrame = field(default_factory=lambda: schemas.table([], schemas.RELEVANCY))
    questions: list[Question] = field(default_factory=list)
    subsets: list[tuple[str, str, str]] = field(default_factory=list)
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def heard(self) -> set[Path]:
        """The media whose sound belongs to a clip."""
        return {one.media for one in self.segments} | {one.media for clip in self.clips for one in clip.sound}

    def media(self) -> list[Path]:
        """The media files, each once, in the order in which they occur."""
        paths = dict.fromkeys(segment.media for segment in self.segments)
        for clip in self.clips:
            for stretch in clip.sound if clip.sound is clip.picture else (*clip.sound, *clip.picture):
                paths[stretch.media] = None
        return list(paths)


def name_clips(
    annotations: Annotations, durations: Mapping[Path, float], config: CorpusConfig, problems: Problems
) -> None:
    """Adds the clips, captions and pairs of the segments to the annotations.

    Args:
        annotations: what the reader found; changed in place.
        durations: seconds of the media that could be opened.
        config: window lengths.
        problems: collects segments that lie outside their media.
    """
    clips: dict[str, AnnotatedClip] = {}
    captions: dict[str, Caption] = {}
    pairs: dict[tuple[str, str], None] = {}
    texts = list(dict.fromkeys(text for segment in annotations.segments for text in segment.captions))
    id_of = dict(zip(texts, (key.hex()[:16] for key in unpack_keys(caption_keys(texts))), strict=True))
    for segment in annotations.segments:
        ids = [id_of[text] for text in segment.captions]
        for id, text in zip(ids, segment.captions, strict=True):
            captions.setdefault(id, Caption(id, text, annotations.source))
        if segment.media not in durations:
            continue
        duration_s = durations[segment.media]
        if (segment.start_s or 0.0) >= duration_s:
            reason = f"the clip starts at {segment.start_s:g} s, the media ends at {duration_s:.3f} s"
            where = f"{segment.where}: " if segment.where else ""
            problems.add(_clip_id(segment, segment.start_s, segment.stop_s), segment.media, where + reason)
            continue
        try:
            windows = _windows(segment, duration_s, config)
        except MediaError as error:
            problems.add(segment.media.as_posix(), segment.media, str(error))
            continue
        for start, stop in windows:
            whole = segment.start_s is None and segment.stop_s is None and (start, stop) == (0.0, duration_s)
            clip_id = segment.media.as_posix() if whole else _clip_id(segment, start, stop)
            stretch = (Stretch(segment.media, start, stop),)
            clips.setdefault(clip_id, AnnotatedClip(clip_id, sound=stretch, picture=stretch))
            pairs.update(((clip_id, id), None) for id in ids)
    annotations.clips += clips.values()
    annotations.captions += captions.values()
    annotations.pairs += pairs


def _windows(segment: Segment, duration_s: float, config: CorpusConfig) -> list[tuple[float, float]]:
    if segment.start_s is not None or segment.stop_s is not None:
        return [(segment.start_s or 0.0, min(duration_s if segment.stop_s is None else segment.stop_s, duration_s))]
    if config.window_s is None or duration_s <= config.window_s:
        return [(0.0, duration_s)]
    config.limits.check_windows(duration_s, config.window_s)
    return fixed_windows(duration_s, config.window_s, config.min_window_s)


def _clip_id(segment: Segment, start_s: float | None, stop_s: float | None) -> str:
    stop = "" if stop_s is None else f"{stop_s:.12g}"
    return f"{segment.media.as_posix()}@{start_s or 0.0:.12g}-{stop}"
