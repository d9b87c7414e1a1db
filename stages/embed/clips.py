"""Clips as an embedding stage sees them: the stretches of media files that hold their sound or their pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.errors import UserError
from cache.keys import joined_clip_key
from pipeline.media.errors import MediaError
from pipeline.media_place import Source, open_place


@dataclass(frozen=True)
class Span:
    """A stretch of a media file.

    Attributes:
        source: the media file, which may have to be fetched, or a folder of frames.
        digest: of the bytes of the media file.
        start_s: in seconds.
        stop_s: in seconds, exclusive.
        start_frame: number of the first frame in the annotations' own count, None where they have none.
        stop_frame: number of the last frame, likewise.
    """

    source: Source
    digest: str
    start_s: float
    stop_s: float
    start_frame: int | None = None
    stop_frame: int | None = None


@dataclass(frozen=True)
class Clip:
    """The sound or the pictures of a clip.

    Attributes:
        id: clip id.
        spans: one or more stretches in playing order.
        name: media path to name in a problem.
    """

    id: str
    spans: tuple[Span, ...]
    name: str

    def key(self, rendition: str) -> bytes:
        """The row key of an embedding of what `rendition` makes of the files; see `cache.keys.clip_key`."""
        return joined_clip_key([(span.digest, span.start_s, span.stop_s) for span in self.spans], rendition)


def clips_of(rows: Iterable[Mapping[str, Any]], media: Path) -> list[Clip]:
    """Joins the rows of a spans table, all of one modality, into clips.

    Args:
        rows: of the table `SPANS`; those of a clip follow each other.
        media: folder to which media paths are relative, or media list.

    Raises:
        UserError: the media list is not the one that the table was made with.
    """
    place = open_place(media)
    spans: dict[str, list[Span]] = {}
    names: dict[str, str] = {}
    for row in rows:
        try:
            source = place.source(row["media_path"])
        except MediaError as error:
            raise UserError(f"{row['media_path']} is {error}, which has changed: ingest the corpus again.") from None
        span = Span(
            source,
            row["media_digest"],
            row["start_s"],
            row["stop_s"],
            row["start_frame"],
            row["stop_frame"],
        )
        spans.setdefault(row["clip_id"], []).append(span)
        names.setdefault(row["clip_id"], row["media_path"])
    return [Clip(id, tuple(parts), names[id]) for id, parts in spans.items()]
