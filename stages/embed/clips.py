"""Clips as an embedding stage sees them: the stretches of media files that hold their audio or video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import overload

import numpy as np
import polars as pl

from cache.errors import UserError
from cache.keys import clip_keys, joined_clip_key, pack_keys
from cache.rows import frames_of
from pipeline.media.containers import MediaError
from pipeline.media.location import GivenMedia, Source, Sources, open_place
from pipeline.runner.rows import taken

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Clip:
    """The audio or the video of a clip.

    Attributes:
        id: clip id.
        spans: one or more stretches in playing order.
        name: media path to name in a problem.
    """

    id: str
    spans: tuple[Span, ...]
    name: str

    def key(self, rendition: str, special: Mapping[str, str] = NOTHING) -> bytes:
        """The row key of an embedding of what `rendition` makes of the files; see `cache.keys.clip_key`.

        Args:
            rendition: of all media.
            special: what the kinds of some media add to it, by digest; see `pipeline.media.length`.
        """
        if special and (added := sorted({special[span.digest] for span in self.spans if span.digest in special})):
            rendition = "-".join([*([rendition] if rendition else []), "+".join(added)])
        return joined_clip_key([(span.digest, span.start_s, span.stop_s) for span in self.spans], rendition)


SPAN_COLUMNS = {
    "source": pl.String,
    "digest": pl.String,
    "start_s": pl.Float64,
    "stop_s": pl.Float64,
    "start_frame": pl.Int64,
    "stop_frame": pl.Int64,
}
_TOGETHER = 1 << 14


class Clips(Sequence[Clip]):
    """Clips as columns; one becomes an object when somebody asks for it.

    Args:
        ids: n clip ids.
        names: media paths to name in problems, n strings.
        spans: their stretches, those of a clip one after another in playing order: `source`, `digest` and the numbers
            of `Span`. Sources are paths that `media` knows.
        first: where the stretches of each clip begin, int64 (n + 1,).
        media: where the files are.
    """

    def __init__(
        self, ids: pl.Series, names: pl.Series, spans: pl.DataFrame, first: np.ndarray, media: Sources
    ) -> None:
        self.ids, self.names = ids, names
        self._spans, self._first, self._media = spans, first, media

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> Clips:
        """Clips that are objects already, or what it is given if that is columns."""
        if isinstance(clips, Clips):
            return clips
        media = GivenMedia(span.source for clip in clips for span in clip.spans)
        rows = [
            (media.name(span.source), span.digest, span.start_s, span.stop_s, span.start_frame, span.stop_frame)
            for clip in clips
            for span in clip.spans
        ]
        first = np.cumsum([0, *(len(clip.spans) for clip in clips)])
        ids, names = (pl.Series([getattr(clip, name) for clip in clips], dtype=pl.String) for name in ("id", "name"))
        return cls(ids, names, pl.DataFrame(rows, SPAN_COLUMNS, orient="row"), first, media)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, which: int) -> Clip: ...
    @overload
    def __getitem__(self, which: slice) -> list[Clip]: ...

    def __getitem__(self, which: int | slice) -> Clip | list[Clip]:
        if isinstance(which, slice):
            return self.take(np.arange(*which.indices(len(self))))
        return self.take(np.array([range(len(self))[which]]))[0]

    def __iter__(self) -> Iterator[Clip]:
        for start in range(0, len(self), _TOGETHER):
            yield from self[start : start + _TOGETHER]

    def take(self, positions: np.ndarray) -> list[Clip]:
        """Clips by number."""
        offsets, frames = frames_of(self._first[positions], self._first[positions + 1])
        sources, *columns = (taken(column, frames).to_list() for column in self._spans)
        media = {source: self._media.source(source) for source in set(sources)}
        spans = [Span(media[source], *rest) for source, *rest in zip(sources, *columns, strict=True)]
        ids, names = taken(self.ids, positions), taken(self.names, positions)
        return [
            Clip(id, tuple(spans[start:stop]), name)
            for id, name, (start, stop) in zip(ids, names, pairwise(offsets.tolist()), strict=True)
        ]

    def keys(self, rendition: str, special: Mapping[str, str] = NOTHING) -> np.ndarray:
        """`Clip.key` of each, uint8 (n, 16)."""
        keys = self._plain_keys(rendition)
        if special:
            spans = self._spans["digest"].is_in(list(special)).arg_true().to_numpy()
            positions = np.unique(np.searchsorted(self._first, spans, side="right") - 1)
            if len(positions):
                keys = keys.copy()
                keys[positions] = pack_keys([clip.key(rendition, special) for clip in self.take(positions)])
        return keys

    def _plain_keys(self, rendition: str) -> np.ndarray:
        digests, starts, stops = (self._spans[name] for name in ("digest", "start_s", "stop_s"))
        stretches = None if len(digests) == len(self) else np.diff(self._first).tolist()
        return clip_keys(digests, starts, stops, rendition, stretches)

    def seconds(self) -> np.ndarray:
        """How long each clip is, float64 (n,)."""
        ends = np.append(0.0, (self._spans["stop_s"] - self._spans["start_s"]).cum_sum().to_numpy())
        return np.diff(ends[self._first])

    def first_files(self) -> np.ndarray:
        """Number of the file, by its bytes, in which each clip begins: int64 (n,)."""
        return _firsts(self._spans["digest"], self._first).rank("dense").to_numpy().astype(np.int64)

    def sources(self) -> list[Source]:
        """The files and folders that clips lie in, each once."""
        return [self._media.source(source) for source in self._spans["source"].unique(maintain_order=True)]


def clips_of(spans: pl.DataFrame, media: Path) -> Clips:
    """Joins the rows of a spans table, all of one modality, into clips.

    Args:
        spans: of the table `SPANS`; the rows of a clip follow each other.
        media: folder to which media paths are relative, or media list.

    Raises:
        UserError: the media list is not the one that the table was made with.
    """
    begins = spans.select((pl.col("clip_id") != pl.col("clip_id").shift()).fill_null(True)).to_series()
    first = np.append(begins.arg_true().to_numpy().astype(np.int64), len(spans))
    ids, names = (_firsts(spans[name], first) for name in ("clip_id", "media_path"))
    columns = spans.rename({"media_path": "source", "media_digest": "digest"}).select(list(SPAN_COLUMNS))
    location = open_place(media)
    clips = Clips(ids, names, columns, first, location)
    if location.folder is None:
        try:
            clips.sources()
        except MediaError as error:
            raise UserError(f"A clip of the corpus is {error}, which has changed: ingest the corpus again.") from None
    return clips


def _firsts(column: pl.Series, first: np.ndarray) -> pl.Series:
    """What a column says of the first stretch of each clip; the column itself where each clip has one."""
    return column if len(column) == len(first) - 1 else column.gather(first[:-1])
