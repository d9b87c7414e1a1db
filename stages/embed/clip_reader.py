"""Reads what a clip tower asks for, sound or frames, each media file opened once however many clips it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.keys import clip_key
from pipeline.audio_store import AudioStore, recipe
from pipeline.embedding_run import Row
from pipeline.media.audio import read_audio
from pipeline.media.errors import MediaError
from pipeline.media.frames import middle_times, read_frames
from stages.embed.encoder import AudioInput, FrameInput


@dataclass(frozen=True)
class Clip:
    """A stretch of a media file.

    Attributes:
        id: clip id.
        source: the media file.
        digest: of the bytes of the media file.
        start_s: in seconds.
        stop_s: in seconds, exclusive.
    """

    id: str
    source: Path
    digest: str
    start_s: float
    stop_s: float


class ClipReader:
    """Turns clips into rows to embed, and rows into items for `Tower.prepare`.

    Args:
        clip_input: what the tower is given.
        clips: the wanted clips.
        audio: where extracted sound tracks are.
        names: media path to name in a problem, by source.
    """

    def __init__(
        self, clip_input: AudioInput | FrameInput, clips: list[Clip], audio: AudioStore, names: Mapping[Path, str]
    ) -> None:
        self._input = clip_input
        self._audio = audio
        rendition = recipe(audio.settings) if isinstance(clip_input, AudioInput) else ""
        self.rows: list[Row] = []
        self._clips: dict[bytes, Clip] = {}
        for clip in clips:
            key = clip_key(clip.digest, clip.start_s, clip.stop_s, rendition)
            self._clips.setdefault(key, clip)
            self.rows.append(Row(clip.id, key, clip.digest, names.get(clip.source, str(clip.source))))

    def read(self, rows: list[Row]) -> Iterator[tuple[Row, Any]]:
        """Yields (row, samples or frames) for rows of one media file; an exception stands for what failed."""
        return self._read_audio(rows) if isinstance(self._input, AudioInput) else self._read_frames(rows)

    def _read_audio(self, rows: list[Row]) -> Iterator[tuple[Row, Any]]:
        assert isinstance(self._input, AudioInput)
        first = self._clips[rows[0].key]
        self._audio.ensure(first.digest, first.source)
        for row in rows:
            clip = self._clips[row.key]
            try:
                yield row, read_audio(self._audio.path(clip.digest), clip.start_s, clip.stop_s, self._input.sample_rate)
            except MediaError as error:
                yield row, error

    def _read_frames(self, rows: list[Row]) -> Iterator[tuple[Row, Any]]:
        assert isinstance(self._input, FrameInput)
        count = self._input.count
        times: list[float] = []
        for row in rows:
            clip = self._clips[row.key]
            times += middle_times(clip.start_s, clip.stop_s, count)
        gathered: dict[int, dict[int, np.ndarray]] = {}
        for index, frame in read_frames(self._clips[rows[0].key].source, times):
            which, position = divmod(index, count)
            frames = gathered.setdefault(which, {})
            frames[position] = frame
            if len(frames) == count:
                yield rows[which], np.stack([frames[i] for i in range(count)])
                del gathered[which]
        for which in gathered:
            yield rows[which], MediaError("no picture in this clip")
