"""From annotations and probed media to the canonical tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cache import tables as schemas
from cache.keys import caption_keys, unpack_keys
from pipeline.config.corpus import CorpusConfig
from pipeline.media.containers import MediaError
from pipeline.media.probe import MediaInfo
from pipeline.monitor.problems import Problems
from stages.ingest.annotations import AnnotatedClip, Annotations, Caption, Span
from stages.ingest.classes import add_classes
from stages.ingest.windows import Window, cut, relevant

CUT_SLACK_S = 1.0
"""Seconds by which a clip that was cut out of a video may be longer than it should: cutters keep whole packets."""


@dataclass(frozen=True)
class Medium:
    """A medium that could be opened.

    Attributes:
        digest: of its bytes.
        info: what its headers say.
        boundaries_s: where its shots begin, ascending; of media that are cut at them.
    """

    digest: str
    info: MediaInfo
    boundaries_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Tables:
    """The canonical tables; see `cache/tables.py`."""

    media: pl.DataFrame
    clips: pl.DataFrame
    spans: pl.DataFrame
    captions: pl.DataFrame
    pairs: pl.DataFrame
    relevancy: pl.DataFrame
    questions: pl.DataFrame
    subsets: pl.DataFrame


class SpanRow(NamedTuple):
    """A row of the spans table but for clip and modality."""

    media_id: str
    media_path: str
    media_digest: str
    start_s: float
    stop_s: float
    start_frame: int | None = None
    stop_frame: int | None = None


def build(annotations: Annotations, media: Mapping[Path, Medium], config: CorpusConfig, problems: Problems) -> Tables:
    """Places clips in their media; one without audio, frames or origin is left out.

    Args:
        annotations: what the reader found; its segments become clips.
        media: the media that could be opened, by path.
        config: window lengths.
        problems: collects clips that lie outside their media.
    """
    paths = [path for path in annotations.media() if path in media]
    add_clips(annotations, media, config, problems)
    annotations.segments = []
    names = {path: path.as_posix() for path in media}
    clips, audio, frames = (_Columns(schema) for schema in (schemas.CLIPS, schemas.SPANS, schemas.SPANS))
    for clip in annotations.clips:
        audio_rows = _span_rows(clip, clip.audio, media, names, problems)
        same = clip.frames == clip.audio
        frame_rows = audio_rows if same else _span_rows(clip, clip.frames, media, names, problems)
        for row in audio_rows:
            audio.add(clip.id, "sound", *row)
        for row in frame_rows:
            frames.add(clip.id, "picture", *row)
        if rows := (audio_rows or frame_rows):
            clips.add(clip.id, *rows[0][:5])
        elif clip.origin is not None:
            clips.add(clip.id, clip.origin.video, "", "", clip.origin.start_s, clip.origin.stop_s)
    placed, relevancy = clips.frame(), annotations.relevancy
    pairs = _frame(annotations.pairs, schemas.PAIRS)
    if len(placed) < len(annotations.clips):
        present = placed["clip_id"].implode()
        pairs, relevancy = (table.filter(pl.col("clip_id").is_in(present)) for table in (pairs, relevancy))
    return Tables(
        _frame((_medium_row(path, media[path]) for path in paths), schemas.MEDIA),
        placed,
        pl.concat([audio.frame(), frames.frame()]),
        _frame(
            ((caption.caption_id, caption.text, caption.source) for caption in annotations.captions), schemas.CAPTIONS
        ),
        pairs,
        relevancy,
        schemas.table([vars(question) for question in annotations.questions], schemas.QUESTIONS),
        _frame(annotations.subsets, schemas.SUBSETS),
    )


def add_clips(annotations: Annotations, media: Mapping[Path, Medium], config: CorpusConfig, problems: Problems) -> None:
    """Adds the clips, captions and pairs of the segments to the annotations.

    Args:
        annotations: what the reader found; changed in place.
        media: those that could be opened.
        config: what clips are, and lengths of windows.
        problems: collects segments that lie outside their media.
    """
    clips: dict[str, AnnotatedClip] = {}
    captions: dict[str, Caption] = {}
    pairs: dict[tuple[str, str], None] = {}
    classes: dict[str, dict[str, None]] = {}
    subsets: dict[tuple[str, str, str], None] = {}
    texts = list(dict.fromkeys(text for segment in annotations.segments for text in segment.captions))
    id_of = dict(zip(texts, (key.hex()[:16] for key in unpack_keys(caption_keys(texts))), strict=True))
    by_captions = config.clips_from == "captions"
    cuts: dict[Path, list[Window]] = {}  # of media of which every window is a clip, whatever captions there are
    for segment in annotations.segments:
        ids = [id_of[text] for text in segment.captions]
        for id, text in zip(ids, segment.captions, strict=True):
            captions.setdefault(id, Caption(id, text, annotations.source))
        if segment.media not in media:
            continue
        medium = media[segment.media]
        duration_s, timed = medium.info.duration_s, segment.start_s is not None or segment.stop_s is not None
        if not by_captions and segment.media not in cuts:
            cuts[segment.media] = _windows(segment.media, medium, config, problems)
            made = (_clip(segment.media, window, window == (0.0, duration_s)) for window in cuts[segment.media])
            clips.update((clip.id, clip) for clip in made)
        start_s = segment.start_s or 0.0
        stop_s = duration_s if segment.stop_s is None else min(segment.stop_s, duration_s)
        if start_s >= duration_s:
            reason = f"the clip starts at {segment.start_s:g} s, the media ends at {duration_s:.3f} s"
            where = f"{segment.where}: " if segment.where else ""
            problems.add(_clip_id(segment.media, segment.start_s, segment.stop_s), segment.media, where + reason)
            continue
        if by_captions:
            windows = [(start_s, stop_s)] if timed else _windows(segment.media, medium, config, problems)
        else:
            windows = cuts[segment.media]
            if timed:
                windows = [windows[number] for number in relevant(windows, start_s, stop_s)]
        for window in windows:
            clip = _clip(segment.media, window, not (by_captions and timed) and window == (0.0, duration_s))
            clips.setdefault(clip.id, clip)
            pairs.update(((clip.id, id), None) for id in ids)
            subsets.update(((subset, "clip", clip.id), None) for subset in segment.subsets)
            if segment.classes:
                classes.setdefault(clip.id, {}).update(dict.fromkeys(segment.classes))
    annotations.clips += clips.values()
    annotations.captions += captions.values()
    annotations.pairs += pairs
    annotations.subsets += subsets
    if classes:
        add_classes(annotations, {clip: list(own) for clip, own in classes.items()}, config.classes)


def _windows(path: Path, medium: Medium, config: CorpusConfig, problems: Problems) -> list[Window]:
    try:
        return cut(medium.info.duration_s, config, medium.boundaries_s)
    except MediaError as error:
        problems.add(path.as_posix(), path, str(error))
        return []


def _clip(media: Path, window: Window, whole: bool) -> AnnotatedClip:
    """The clip of a window: a medium that is one clip gives it its name."""
    span = (Span(media, *window),)
    return AnnotatedClip(media.as_posix() if whole else _clip_id(media, *window), audio=span, frames=span)


def _clip_id(media: Path, start_s: float | None, stop_s: float | None) -> str:
    stop = "" if stop_s is None else f"{stop_s:.12g}"
    return f"{media.as_posix()}@{start_s or 0.0:.12g}-{stop}"


class _Columns:
    """A table that is filled row by row: a list a column instead of a dict a row."""

    def __init__(self, schema: schemas.Schema) -> None:
        self._schema = schema
        self._lists: list[list] = [[] for _ in schema]

    def add(self, *row: object) -> None:
        """Adds a row, in the order of the schema."""
        for values, value in zip(self._lists, row, strict=True):
            values.append(value)

    def frame(self) -> pl.DataFrame:
        """The table."""
        return pl.DataFrame(dict(zip(self._schema, self._lists, strict=True)), schema=dict(self._schema))


def _frame(rows: Iterable[tuple], schema: schemas.Schema) -> pl.DataFrame:
    columns = _Columns(schema)
    for row in rows:
        columns.add(*row)
    return columns.frame()


def _span_rows(
    clip: AnnotatedClip,
    spans: Sequence[Span],
    media: Mapping[Path, Medium],
    names: Mapping[Path, str],
    problems: Problems,
) -> list[SpanRow]:
    """A row for each span of a clip, or none if the medium of one is not there."""
    rows = []
    for span in spans:
        medium = media.get(span.media)
        if medium is None:
            return []
        end = medium.info.duration_s
        if reason := _fault_of_cut(span, end):
            problems.add(clip.id, span.media, reason)
            return []
        if span.start_s >= end:
            problems.add(clip.id, span.media, f"the clip starts at {span.start_s:g} s, the media ends at {end:.3f} s")
            return []
        start, stop = _times(span, medium.info)
        stop = end if stop is None else min(stop, end)
        name = names[span.media]
        rows.append(SpanRow(name, name, medium.digest, start, stop, span.start_frame, span.stop_frame))
    return rows


def _fault_of_cut(span: Span, end_s: float) -> str | None:
    """Why a medium cannot be what `files.media_are` says: its length tells a clip from the video it was cut out of."""
    if span.cut_s is None:
        return None
    longest = span.cut_s + CUT_SLACK_S
    if span.stop_s is None and end_s > longest:
        return (
            f"the file lasts {end_s:.2f} s, its clip {span.cut_s:g} s: if it is the whole video, set `media_are: "
            "videos` in the corpus config"
        )
    if span.stop_s is not None and span.start_s > CUT_SLACK_S and end_s <= longest:
        return (
            f"the file lasts {end_s:.2f} s and its clip begins at {span.start_s:g} s: if it is the clip cut out of the "
            "video, set `media_are: clips` in the corpus config"
        )
    return None


def _times(span: Span, info: MediaInfo) -> tuple[float, float | None]:
    if span.duration_s is None:
        return span.start_s, span.stop_s
    if info.audio is None:
        return span.start_s, span.start_s + span.duration_s
    rate = info.audio.sample_rate
    first = int(span.start_s * rate)
    return first / rate, (first + int(span.duration_s * rate)) / rate


def _medium_row(path: Path, medium: Medium) -> tuple:
    name, info = path.as_posix(), medium.info
    return name, name, medium.digest, info.duration_s, info.audio is not None, info.video is not None
