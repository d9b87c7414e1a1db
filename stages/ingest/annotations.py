"""What a reader finds in the annotation files of a corpus, before any medium is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from cache import tables as schemas
from pipeline.config.corpus import OfficialFiles

if TYPE_CHECKING:
    from stages.ingest.tables import Medium


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a media file and the captions that describe it; one without times may be cut into windows.

    Attributes:
        media: path relative to the media folder.
        captions: zero or more texts.
        start_s: start in seconds; None for a file without clip times.
        stop_s: end in seconds, exclusive; None for the end of the file.
        where: location in the annotation file, for messages.
        classes: names of the classes of the part.
        subsets: names of the subsets that it is in.
    """

    media: Path
    captions: tuple[str, ...] = ()
    start_s: float | None = None
    stop_s: float | None = None
    where: str = ""
    classes: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a media file that a clip is made of.

    Attributes:
        media: path relative to the media folder; a file, or a folder of frames.
        start_s: start in seconds.
        stop_s: end in seconds, exclusive; None for the end of the file, or where there is a duration.
        duration_s: seconds from the start on, for audio: start and duration are each cut down to whole samples of the
            file, as librosa does in the original code.
        start_frame: number of the first frame, where the annotations count frames.
        stop_frame: number of the last one, likewise.
        cut_s: seconds of the clip, where media may be clips cut out of videos or whole videos. A span of a whole file
            refuses a longer one, which is a video; one within a file refuses a file of that length, which is a clip.
    """

    media: Path
    start_s: float = 0.0
    stop_s: float | None = None
    duration_s: float | None = None
    start_frame: int | None = None
    stop_frame: int | None = None
    cut_s: float | None = None


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
    """A clip that the annotations name, with the spans of its audio and of its frames, in playing order.

    A clip with an `origin` needs no media.
    """

    id: str
    audio: tuple[Span, ...] = ()
    frames: tuple[Span, ...] = ()
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
        notes: messages for the summary line.
        opened: media that the reader has digested and probed on its way, or why one cannot be used.
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
    notes: list[str] = field(default_factory=list)
    opened: dict[Path, Medium | str] = field(default_factory=dict)

    def media_with_audio(self) -> set[Path]:
        """The media whose audio belongs to a clip."""
        return {segment.media for segment in self.segments} | {span.media for clip in self.clips for span in clip.audio}

    def media(self) -> list[Path]:
        """The media files, each once, in the order in which they occur."""
        paths = dict.fromkeys(segment.media for segment in self.segments)
        for clip in self.clips:
            for span in clip.audio if clip.audio is clip.frames else (*clip.audio, *clip.frames):
                paths[span.media] = None
        return list(paths)


def count_notes(kind: str, found: int, options: OfficialFiles, path: Path) -> list[str]:
    """A note if the files hold another number of clips, captions or questions than their authors published."""
    wanted = {str(key): value for key, value in options.published.items()}.get(kind, found)
    if found == wanted:
        return []
    return [f"{path} gives {found} {kind}, published are {wanted}: is this the official file?"]
