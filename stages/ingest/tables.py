"""From annotations and probed media to the canonical tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cache import tables as schemas
from pipeline.config.corpus import CorpusConfig
from pipeline.media.probe import MediaInfo
from pipeline.monitor.problems import Problems
from stages.ingest.annotations import AnnotatedClip, Annotations, Stretch, name_clips


@dataclass(frozen=True)
class Medium:
    """A medium that could be opened: its digest and what its headers say."""

    digest: str
    info: MediaInfo


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


class Place(NamedTuple):
    """A row of the spans table but for clip and modality."""

    media_id: str
    media_path: str
    media_digest: str
    start_s: float
    stop_s: float
    start_frame: int | None = None
    stop_frame: int | None = None


def build(annotations: Annotations, media: Mapping[Path, Medium], config: CorpusConfig, problems: Problems) -> Tables:
    """Places clips in their media; one without sound, picture or origin is left out.

    Args:
        annotations: what the reader found; its segments become clips.
        media: the media that could be opened, by path.
        config: window lengths.
        problems: collects clips that lie outside their media.
    """
    paths = [path for path in annotations.media() if path in media]
    name_clips(annotations, {path: medium.info.duration_s for path, medium in media.items()}, config, problems)
    annotations.segments = []
    names = {path: path.as_posix() for path in media}
    clips, sound, picture = (_Columns(schema) for schema in (schemas.CLIPS, schemas.SPANS, schemas.SPANS))
    for clip in annotations.clips:
        heard = _places(clip, clip.sound, media, names, problems)
        seen = heard if clip.picture == clip.sound else _places(clip, clip.picture, media, names, problems)
        for place in heard:
            sound.add(clip.id, "sound", *place)
        for place in seen:
            picture.add(clip.id, "picture", *place)
        if first := (heard or seen):
            clips.add(clip.id, *first[0][:5])
        elif clip.origin is not None:
            clips.add(clip.id, clip.origin.video, "", "", clip.origin.start_s, clip.origin.stop_s)
    placed, relevancy = clips.frame(), annotations.relevancy
    pairs = _frame(annotations.pairs, schemas.PAIRS)
    if len(placed) < len(annotations.clips):
        present = placed["clip_id"].implode()
        pairs, relevancy = (one.filter(pl.col("clip_id").is_in(present)) for one in (pairs, relevancy))
    return Tables(
        _frame((_medium_row(path, media[path]) for path in paths), schemas.MEDIA),
        placed,
        pl.concat([sound.frame(), picture.frame()]),
        _frame(((one.caption_id, one.text, one.source) for one in annotations.captions), schemas.CAPTIONS),
        pairs,
        relevancy,
        schemas.table([vars(question) for question in annotations.questions], schemas.QUESTIONS),
        _frame(annotations.subsets, schemas.SUBSETS),
    )


class _Columns:
    """A table in the making, a list a column instead of a dict a row."""

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


def _places(
    clip: AnnotatedClip,
    stretches: Sequence[Stretch],
    media: Mapping[Path, Medium],
    names: Mapping[Path, str],
    problems: Problems,
) -> list[Place]:
    """Where all stretches of a clip lie, or nothing if one is not there."""
    places = []
    for stretch in stretches:
        medium = media.get(stretch.media)
        if medium is None:
            return []
        end = medium.info.duration_s
        if stretch.start_s >= end:
            problems.add(
                clip.id, stretch.media, f"the clip starts at {stretch.start_s:g} s, the media ends at {end:.3f} s"
            )
            return []
        start, stop = _times(stretch, medium.info)
        stop = end if stop is None else min(stop, end)
        name = names[stretch.media]
        places.append(Place(name, name, medium.digest, start, stop, stretch.start_frame, stretch.stop_frame))
    return places


def _times(stretch: Stretch, info: MediaInfo) -> tuple[float, float | None]:
    if stretch.duration_s is None:
        return stretch.start_s, stretch.stop_s
    if info.audio is None:
        return stretch.start_s, stretch.start_s + stretch.duration_s
    rate = info.audio.sample_rate
    first = int(stretch.start_s * rate)
    return first / rate, (first + int(stretch.duration_s * rate)) / rate


def _medium_row(path: Path, medium: Medium) -> tuple:
    name, info = path.as_posix(), medium.info
    return name, name, medium.digest, info.duration_s, info.audio is not None, info.video is not None
