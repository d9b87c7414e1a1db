"""What a reader finds in the annotation files of a corpus, before any medium is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Segment:
    """A stretch of a media file and the captions that describe it.

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


@dataclass
class Annotations:
    """All segments of a corpus, in the order of its tables.

    Attributes:
        segments: what to make clips of.
        source: caption source.
        faults: (id, path, reason) of annotation rows that cannot be used.
        note: a remark for the summary line.
    """

    segments: list[Segment] = field(default_factory=list)
    source: str = "given"
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    note: str = ""
