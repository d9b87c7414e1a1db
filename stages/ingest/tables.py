"""From annotations and probed media to the canonical tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import polars as pl

from cache import tables as schemas
from pipeline.config.corpus import CorpusConfig
from pipeline.media.probe import MediaInfo
from pipeline.problems import Problems
from stages.ingest.annotations import AnnotatedClip, Annotations, Stretch
from stages.ingest.windows import name_clips


@dataclass(frozen=True)
class Medium:
    """A medium that could be opened: its digest and what its headers say."""

    digest: str
    info: MediaInfo


@dataclass
class Tables:
    """Rows of the canonical tables, and the relevancy as a frame; see `cache/tables.py`."""

    media: list[dict] = field(default_factory=list)
    clips: list[dict] = field(default_factory=list)
    spans: list[dict] = field(default_factory=list)
    captions: list[dict] = field(default_factory=list)
    pairs: list[dict] = field(default_factory=list)
    relevancy: pl.DataFrame = field(default_factory=lambda: schemas.table([], schemas.RELEVANCY))
    questions: list[dict] = field(default_factory=list)
    subsets: list[dict] = field(default_factory=list)


def build(annotations: Annotations, media: Mapping[Path, Medium], config: CorpusConfig, problems: Problems) -> Tables:
    """Places clips in their media; one without sound, picture or origin is left out.

    Args:
        annotations: what the reader found; clips made of its segments are added to it.
        media: the media that could be opened, by path.
        config: window lengths.
        problems: collects clips that lie outside their media.
    """
    name_clips(annotations, {path: medium.info.duration_s for path, medium in media.items()}, config, problems)
    tables = Tables(media=[_medium_row(path, media[path]) for path in annotations.media() if path in media])
    sound = {clip.id: _spans(clip, clip.sound, media, problems) for clip in annotations.clips}
    picture = {
        clip.id: sound[clip.id] if clip.picture == clip.sound else _spans(clip, clip.picture, media, problems)
        for clip in annotations.clips
    }
    for modality, placed in (("sound", sound), ("picture", picture)):
        tables.spans += [
            {"clip_id": id, "modality": modality, **span} for id, spans in placed.items() for span in spans
        ]
    for clip in annotations.clips:
        spans = sound[clip.id] or picture[clip.id]
        if spans:
            tables.clips.append(
                {"clip_id": clip.id, **{key: spans[0][key] for key in schemas.CLIPS if key in spans[0]}}
            )
        elif clip.origin is not None:
            place = {"media_id": clip.origin.video, "start_s": clip.origin.start_s, "stop_s": clip.origin.stop_s}
            tables.clips.append({"clip_id": clip.id, "media_path": "", "media_digest": "", **place})
    tables.captions = [asdict(caption) for caption in annotations.captions]
    present = {row["clip_id"] for row in tables.clips}
    tables.pairs = [{"clip_id": clip, "caption_id": one} for clip, one in annotations.pairs if clip in present]
    tables.relevancy = annotations.relevancy
    if len(present) < len(annotations.clips):
        tables.relevancy = tables.relevancy.filter(pl.col("clip_id").is_in(list(present)))
    tables.questions = [asdict(question) for question in annotations.questions]
    tables.subsets = [{"subset": subset, "kind": kind, "id": id} for subset, kind, id in annotations.subsets]
    return tables


def _spans(
    clip: AnnotatedClip, stretches: Sequence[Stretch], media: Mapping[Path, Medium], problems: Problems
) -> list[dict]:
    """Rows of the spans table but for clip and modality: all stretches of a clip, or none if one is not there."""
    if any(stretch.media not in media for stretch in stretches):
        return []
    rows = []
    for stretch in stretches:
        medium = media[stretch.media]
        end = medium.info.duration_s
        if stretch.start_s >= end:
            problems.add(
                clip.id, stretch.media, f"the clip starts at {stretch.start_s:g} s, the media ends at {end:.3f} s"
            )
            return []
        start, stop = _times(stretch, medium.info)
        rows.append(
            {
                "media_id": stretch.media.as_posix(),
                "media_path": stretch.media.as_posix(),
                "media_digest": medium.digest,
                "start_s": start,
                "stop_s": end if stop is None else min(stop, end),
                "start_frame": stretch.start_frame,
                "stop_frame": stretch.stop_frame,
            }
        )
    return rows


def _times(stretch: Stretch, info: MediaInfo) -> tuple[float, float | None]:
    if stretch.duration_s is None:
        return stretch.start_s, stretch.stop_s
    if info.audio is None:
        return stretch.start_s, stretch.start_s + stretch.duration_s
    rate = info.audio.sample_rate
    first = int(stretch.start_s * rate)
    return first / rate, (first + int(stretch.duration_s * rate)) / rate


def _medium_row(path: Path, medium: Medium) -> dict:
    return {
        "media_id": path.as_posix(),
        "path": path.as_posix(),
        "digest": medium.digest,
        "duration_s": medium.info.duration_s,
        "has_audio": medium.info.audio is not None,
        "has_video": medium.info.video is not None,
    }
