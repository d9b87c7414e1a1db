"""Reads the pictures of clips, each video opened once however many clips it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.embedding_run import Row
from pipeline.media.errors import MediaError
from pipeline.media.frames import middle_times, read_frames
from stages.embed.clips import Clip
from stages.embed.passes import passes

CLIPS_AT_A_TIME = 8
"""Clips whose frames are gathered at the same time; 8 clips of 8 frames in full HD take 400 MB."""


class FrameReader:
    """Turns clips into rows to embed, and rows into frames for `Tower.prepare`.

    Args:
        count: frames per clip.
        clips: the wanted clips, each in one file.
    """

    def __init__(self, count: int, clips: Sequence[Clip]) -> None:
        self._count = count
        keys = [clip.key("") for clip in clips]
        self._clips = dict(zip(reversed(keys), reversed(clips), strict=True))
        self.rows = [Row(clip.id, key, clip.spans[0].digest, clip.name) for clip, key in zip(clips, keys, strict=True)]

    def read(self, rows: list[Row]) -> Iterator[tuple[Row, Any]]:
        """Yields (row, frames) for rows of one video; an exception stands for what failed.

        The video is read once, unless so many clips overlap that their frames would fill the memory.
        """
        spans = [self._clips[row.key].spans[0] for row in rows]
        for part in passes([(span.start_s, span.stop_s) for span in spans], CLIPS_AT_A_TIME):
            yield from self._read([rows[i] for i in part])

    def _read(self, rows: list[Row]) -> Iterator[tuple[Row, Any]]:
        times: list[float] = []
        for row in rows:
            span = self._clips[row.key].spans[0]
            times += middle_times(span.start_s, span.stop_s, self._count)
        gathered: dict[int, dict[int, np.ndarray]] = {}
        for index, frame in read_frames(self._clips[rows[0].key].spans[0].source, times):
            which, position = divmod(index, self._count)
            frames = gathered.setdefault(which, {})
            frames[position] = frame
            if len(frames) == self._count:
                yield rows[which], np.stack([frames[i] for i in range(self._count)])
                del gathered[which]
        for which in gathered:
            yield rows[which], MediaError("no picture in this clip")
