"""Reads the pictures of clips, each video opened once however many clips it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.embedding_run import Row
from pipeline.media.display import Picture
from pipeline.media.errors import MediaError
from pipeline.media.frames import read_frames
from pipeline.media.numbered_frames import read_numbered
from stages.embed.clips import Clip
from stages.embed.encoder import FrameInput
from stages.embed.frame_sampling import Sample, sample
from stages.embed.passes import passes

CLIPS_AT_A_TIME = 8
"""Clips whose frames are gathered at the same time; 8 clips of 8 frames in full HD take 400 MB."""


class FrameReader:
    """Turns clips into rows to embed, and rows into frames for `Tower.prepare`.

    Args:
        clip_input: which pictures of a clip the tower is given.
        clips: the wanted clips.
    """

    def __init__(self, clip_input: FrameInput, clips: Sequence[Clip]) -> None:
        self._plans: dict[bytes, tuple[Clip, Sample | MediaError]] = {}
        self.rows: list[Row] = []
        for clip in clips:
            chosen: Sample | MediaError
            try:
                chosen = sample(clip_input, clip)
                key = clip.key(chosen.rendition)
            except MediaError as error:
                chosen, key = error, clip.key("")
            self._plans.setdefault(key, (clip, chosen))
            self.rows.append(Row(clip.id, key, clip.spans[0].digest, clip.name))

    def read(self, rows: list[Row]) -> Iterator[tuple[Row, Any]]:
        """Yields (row, frames) for rows whose first file is the same; an exception stands for what failed.

        The file is read once, unless so many clips overlap that their frames would fill the memory.
        """
        pending: list[_Pending] = []
        for row in rows:
            clip, chosen = self._plans[row.key]
            if isinstance(chosen, MediaError):
                yield row, chosen
            else:
                pending.append(_Pending(row, clip, chosen))
        firsts = [one.clip.spans[0] for one in pending]
        for part in passes([(span.start_s, span.stop_s) for span in firsts], CLIPS_AT_A_TIME):
            yield from _read([pending[i] for i in part])


@dataclass
class _Pending:
    """A row whose pictures are being gathered."""

    row: Row
    clip: Clip
    sample: Sample
    pictures: dict[int, Picture] = field(default_factory=dict)
    done: bool = False
    fault: MediaError | None = None

    def taken(self) -> np.ndarray | MediaError:
        """The pictures in playing order, which are then forgotten."""
        frames = [self.pictures[slot] for slot in range(len(self.pictures))]
        self.done, self.pictures = True, {}
        if len({frame.shape for frame in frames}) > 1:
            return MediaError("the pictures of this clip differ in size")
        return np.stack(frames)

    def absence(self) -> MediaError:
        """Why a picture is missing though its file could be read."""
        if not self.sample.numbered:
            return MediaError("no picture in this clip")
        missing = [
            self.sample.positions[slot] for slot in range(len(self.sample.positions)) if slot not in self.pictures
        ]
        return MediaError(f"there is no frame {missing[0]}")


def _read(pending: list[_Pending]) -> Iterator[tuple[Row, Any]]:
    """Goes once through each file that has pictures of these rows."""
    files: dict[str, tuple[Path, list[tuple[_Pending, int]]]] = {}
    for one in pending:
        for slot, which in enumerate(one.sample.spans):
            span = one.clip.spans[which]
            files.setdefault(span.digest, (span.source, []))[1].append((one, slot))
    for source, wanted in files.values():
        try:
            for index, picture in _pictures(source, wanted):
                one, slot = wanted[index]
                one.pictures[slot] = picture
                if len(one.pictures) == len(one.sample.positions):
                    yield one.row, one.taken()
        except MediaError as error:
            for one, _ in wanted:
                one.fault = error
    for one in pending:
        if not one.done:
            yield one.row, one.fault or one.absence()


def _pictures(source: Path, wanted: list[tuple[_Pending, int]]) -> Iterator[tuple[int, Picture]]:
    positions = [one.sample.positions[slot] for one, slot in wanted]
    first = wanted[0][0].sample
    if first.numbered:
        return read_numbered(source, [int(number) for number in positions], clamp=first.clamped)
    return read_frames(source, positions)
