"""From segments of media to named clips: long media without times are cut into windows, captions joined by text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cache.keys import caption_keys, unpack
from pipeline.config.corpus import CorpusConfig
from pipeline.media.errors import MediaError
from pipeline.media.times import fixed_windows
from pipeline.problems import Problems
from stages.ingest.annotations import AnnotatedClip, Annotations, Caption, Segment, Stretch


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
    id_of = dict(zip(texts, (key.hex()[:16] for key in unpack(caption_keys(texts))), strict=True))
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
