"""Reads audio and frames of the same clips together, for a tower that is given both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from cache.keys import KeyIndex, combined_key, pack_keys, unpack_keys
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import DEFAULT
from pipeline.runner.rows import Row, WantedRows
from stages.embed.audio_reader import AudioReader
from stages.embed.clips import Clip, Clips
from stages.embed.encoder import AudioVideoInput
from stages.embed.frame_reader import FrameReader


class AudioVideoReader:
    """Turns clips into rows to embed, and rows into pairs of samples and frames for `Tower.prepare`.

    A row's key names what both keys name: that of the clip's audio and that of its frames.

    Args:
        clip_input: what the tower is given.
        audio_clips: where the audio of the wanted clips lies.
        frame_clips: where their frames lie, in the same order.
        audio: where extracted audio is.
        max_pixels: a frame with more of them is not decoded.
    """

    def __init__(
        self,
        clip_input: AudioVideoInput,
        audio_clips: Sequence[Clip],
        frame_clips: Sequence[Clip],
        audio: AudioStore,
        max_pixels: int = DEFAULT.max_pixels,
    ) -> None:
        self._input, self._store, self._max_pixels = clip_input, audio, max_pixels
        self._clips = Clips.of(audio_clips), Clips.of(frame_clips)
        self._audio = AudioReader(clip_input.audio.sample_rate, self._clips[0], audio)
        self._frames = FrameReader(clip_input.frames, self._clips[1], audio.kinds, max_pixels)
        both = zip(unpack_keys(self._audio.rows.keys), unpack_keys(self._frames.rows.keys), strict=True)
        keys = pack_keys([combined_key(*pair) for pair in both])
        groups = self._clips[1].first_files()
        self.rows = WantedRows(self._clips[1].ids, keys, groups, self._clips[1].names)

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex([self.rows.keys])

    def _positions(self, rows: Sequence[Row]) -> np.ndarray:
        return self._index.find([row.key for row in rows])

    def part(self, rows: Sequence[Row]) -> AudioVideoReader:
        """A reader of these rows alone."""
        audio, frames = (own.take(self._positions(rows)) for own in self._clips)
        return AudioVideoReader(self._input, audio, frames, self._store, self._max_pixels)

    def read(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Any]]:
        """Yields (row, (samples, frames)) for rows whose first video is the same; an exception stands for a failure.

        The video is read once; the audio of a clip when its frames have come.
        """
        waiting: dict[bytes, list[tuple[Row, int]]] = {}
        positions = self._positions(rows)
        frame_keys = unpack_keys(self._frames.rows.keys[positions])
        for row, position, key in zip(rows, positions, frame_keys, strict=True):
            waiting.setdefault(key, []).append((row, int(position)))
        first = np.array([wanted[0][1] for wanted in waiting.values()])
        for frame_row, frames in self._frames.read(self._frames.rows.part(first)):
            for row, position in waiting[frame_row.key]:
                if isinstance(frames, Exception):
                    yield row, frames
                    continue
                ((_, samples),) = self._audio.read(self._audio.rows.part(np.array([position])))
                yield row, samples if isinstance(samples, Exception) else (samples, frames)
