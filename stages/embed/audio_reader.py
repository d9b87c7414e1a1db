"""Reads the audio of clips from the extracted audio, into which each medium was decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from cache.keys import KeyIndex
from pipeline.media.audio_store import AudioStore, recipe
from pipeline.media.length import renditions
from pipeline.runner.rows import Row, WantedRows
from stages.embed.clips import Clip, Clips

CLIPS_TOGETHER = 64
"""Clips of one medium that one thread reads: extracted audio can be read from anywhere, so that several may."""


class AudioReader:
    """Turns clips into rows to embed, and rows into samples for `Tower.prepare`.

    Args:
        sample_rate: in Hz, of the tower's input; None for that of the extracted audio.
        clips: the wanted clips.
        audio: where extracted audio is.
    """

    def __init__(self, sample_rate: int | None, clips: Sequence[Clip], audio: AudioStore) -> None:
        self._sample_rate = sample_rate
        self._audio = audio
        self._clips = Clips.of(clips)
        keys = self._clips.keys(recipe(audio.settings), renditions(audio.kinds, "audio"))
        self.rows = WantedRows(self._clips.ids, keys, _groups(self._clips.first_files()), self._clips.names)

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex([self.rows.keys])

    def _clips_of(self, rows: Sequence[Row]) -> list[Clip]:
        return self._clips.take(self._index.find([row.key for row in rows]))

    def part(self, rows: Sequence[Row]) -> AudioReader:
        """A reader of these rows alone."""
        return AudioReader(self._sample_rate, self._clips_of(rows), self._audio)

    def read(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Any]]:
        """Yields (row, samples) for rows of one group; an exception stands for what failed."""
        for row, clip in zip(rows, self._clips_of(rows), strict=True):
            try:
                yield row, self._samples(clip)
            except Exception as error:  # the clip's: the others are read
                yield row, error

    def _samples(self, clip: Clip) -> np.ndarray:
        parts = []
        for span in clip.spans:
            parts.append(self._audio.read(span.digest, span.source, span.start_s, span.stop_s, self._sample_rate))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _groups(files: np.ndarray) -> np.ndarray:
    """Numbers for the clips of each file, so many of them having the same."""
    frame = pl.DataFrame({"file": files})
    turn = frame.select(pl.int_range(pl.len()).over("file") // CLIPS_TOGETHER).to_series().to_numpy()
    return files * (turn.max(initial=0) + 1) + turn
