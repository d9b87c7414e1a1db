"""Reads the sound of clips from extracted audio, into which each medium was decoded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.audio_store import AudioStore, recipe
from pipeline.media.audio import read_audio
from pipeline.media.errors import MediaError
from pipeline.row_making import Row
from stages.embed.clips import Clip

CLIPS_TOGETHER = 64
"""Clips of one medium that one thread reads: extracted sound can be read from anywhere, so that several may."""


class SoundReader:
    """Turns clips into rows to embed, and rows into samples for `Tower.prepare`.

    Args:
        sample_rate: in Hz, what the tower listens to.
        clips: the wanted clips.
        audio: where extracted sound tracks are.
    """

    def __init__(self, sample_rate: int, clips: Sequence[Clip], audio: AudioStore) -> None:
        self._sample_rate = sample_rate
        self._audio = audio
        rendition = recipe(audio.settings)
        keys = [clip.key(rendition) for clip in clips]
        self._clips = dict(zip(reversed(keys), reversed(clips), strict=True))
        seen: Counter[str] = Counter()
        self.rows = []
        for clip, key in zip(clips, keys, strict=True):
            digest = clip.spans[0].digest
            group = f"{digest} {seen[digest] // CLIPS_TOGETHER}"
            seen[digest] += 1
            self.rows.append(Row(clip.id, key, group, clip.name))

    def part(self, rows: Sequence[Row]) -> SoundReader:
        """A reader of these rows alone."""
        return SoundReader(self._sample_rate, [self._clips[row.key] for row in rows], self._audio)

    def read(self, rows: list[Row]) -> Iterator[tuple[Row, Any]]:
        """Yields (row, samples) for rows of one group; an exception stands for what failed."""
        for row in rows:
            try:
                yield row, self._samples(self._clips[row.key])
            except MediaError as error:
                yield row, error

    def _samples(self, clip: Clip) -> np.ndarray:
        parts = []
        for span in clip.spans:
            self._audio.ensure(span.digest, span.source)
            parts.append(read_audio(self._audio.path(span.digest), span.start_s, span.stop_s, self._sample_rate))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
