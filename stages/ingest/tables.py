"""From annotations and probed media to the canonical tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cache.keys import caption_key
from pipeline.config import CorpusConfig
from pipeline.media.probe import MediaInfo
from pipeline.media.times import fixed_windows
from pipeline.problems import Problems
from stages.ingest.annotations import Annotations, Segment


@dataclass(frozen=True)
class Medium:
    """A media file that could be opened: its digest and what its headers say."""

    digest: str
    info: MediaInfo


@dataclass
class Tables:
    """Rows of the canonical tables; see `cache/tables.py`."""

    media: list[dict] = field(default_factory=list)
    clips: list[dict] = field(default_factory=list)
    spans: list[dict] = field(default_factory=list)
    captions: list[dict] = field(default_factory=list)
    pairs: list[dict] = field(default_factory=list)
    relevancy: list[dict] = field(default_factory=list)
    questions: list[dict] = field(default_factory=list)
    subsets: list[dict] = field(default_factory=list)


def build(annotations: Annotations, media: Mapping[Path, Medium], config: CorpusConfig, problems: Problems) -> Tables:
    """Makes clips of segments, cuts long media without times into windows, and joins captions by their text.

    Args:
        annotations: what the reader found.
        media: the media that could be opened, by path.
        config: window lengths.
        problems: collects segments that lie outside their media.
    """
    tables = Tables()
    captions: dict[str, dict] = {}
    clips: dict[str, dict] = {}
    pairs: dict[tuple[str, str], None] = {}
    for path in dict.fromkeys(segment.media for segment in annotations.segments if segment.media in media):
        tables.media.append(_medium_row(path, media[path]))
    for segment in annotations.segments:
        for text in segment.captions:
            name = caption_key(text).hex()[:16]
            captions.setdefault(name, {"caption_id": name, "text": text, "source": annotations.source})
        if segment.media not in media:
            continue
        medium = media[segment.media]
        if (segment.start_s or 0.0) >= medium.info.duration_s:
            reason = f"the clip starts at {segment.start_s:g} s, the media ends at {medium.info.duration_s:.3f} s"
            problems.add(_clip_id(segment, segment.start_s, segment.stop_s), segment.media, _at(segment, reason))
            continue
        for start, stop in _spans(segment, medium.info.duration_s, config):
            whole = (
                segment.start_s is None and segment.stop_s is None and (start, stop) == (0.0, medium.info.duration_s)
            )
            clip_id = segment.media.as_posix() if whole else _clip_id(segment, start, stop)
            clips.setdefault(
                clip_id,
                {
                    "clip_id": clip_id,
                    "media_id": segment.media.as_posix(),
                    "media_path": segment.media.as_posix(),
                    "media_digest": medium.digest,
                    "start_s": start,
                    "stop_s": stop,
                },
            )
            pairs.update(((clip_id, caption_key(text).hex()[:16]), None) for text in segment.captions)
    tables.clips = list(clips.values())
    tables.spans = [
        {**clip, "modality": modality, "start_frame": None, "stop_frame": None}
        for modality in ("sound", "picture")
        for clip in tables.clips
    ]
    tables.captions = list(captions.values())
    tables.pairs = [{"clip_id": clip, "caption_id": caption} for clip, caption in pairs]
    return tables


def _spans(segment: Segment, duration_s: float, config: CorpusConfig) -> list[tuple[float, float]]:
    if segment.start_s is not None or segment.stop_s is not None:
        return [(segment.start_s or 0.0, min(duration_s if segment.stop_s is None else segment.stop_s, duration_s))]
    if config.window_s is None or duration_s <= config.window_s:
        return [(0.0, duration_s)]
    return fixed_windows(duration_s, config.window_s, config.min_window_s)


def _clip_id(segment: Segment, start_s: float | None, stop_s: float | None) -> str:
    stop = "" if stop_s is None else f"{stop_s:.12g}"
    return f"{segment.media.as_posix()}@{start_s or 0.0:.12g}-{stop}"


def _at(segment: Segment, reason: str) -> str:
    return f"{segment.where}: {reason}" if segment.where else reason


def _medium_row(path: Path, medium: Medium) -> dict:
    return {
        "media_id": path.as_posix(),
        "path": path.as_posix(),
        "digest": medium.digest,
        "duration_s": medium.info.duration_s,
        "has_audio": medium.info.audio is not None,
        "has_video": medium.info.video is not None,
    }
