"""Reads the frames of clips, each video opened once however many clips it has."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import av
import numpy as np

from cache.keys import KeyIndex, pack_keys
from pipeline.media.containers import DEFAULT, MediaError
from pipeline.media.frames import RgbImage, Scaling, read_frames
from pipeline.media.length import renditions
from pipeline.media.location import Source, held
from pipeline.media.numbered_frames import read_numbered
from pipeline.runner.rows import Row, WantedRows
from stages.embed.clips import Clip, Clips
from stages.embed.encoder import FrameInput, FrameRate
from stages.embed.frame_sampling import Sample, sample, timed


def passes(stretches: Sequence[tuple[float, float]], most_open: int) -> list[list[int]]:
    """Divides stretches so that in each part no more than so many of them overlap at any moment.

    Args:
        stretches: (start, stop) of each.
        most_open: of one part.

    Returns:
        Positions of the stretches of each part, by their start; one part unless too many overlap.
    """
    parts: list[list[int]] = []
    still_open: list[list[float]] = []  # stops of the stretches that are open in each part, as heaps
    for position in sorted(range(len(stretches)), key=lambda i: stretches[i]):
        start, stop = stretches[position]
        for part, stops in zip(parts, still_open, strict=True):
            while stops and stops[0] <= start:
                heapq.heappop(stops)
            if len(stops) < most_open:
                part.append(position)
                heapq.heappush(stops, stop)
                break
        else:
            parts.append([position])
            still_open.append([stop])
    return parts


MOST_BYTES = 128 << 20
"""Frames of one clip that are held in memory: 2 minutes at 24 per second and 112 pixels."""


class FrameStack:
    """Frames of one size, put one on top of the other.

    Those beyond `most_bytes` move, with the ones before them, into a file without a name in the folder for temporary
    files (`$TMPDIR`), which is gone as soon as nobody needs the array any more.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._frames: list[RgbImage] = []
        self._shape: tuple[int, ...] | None = None
        self._count = 0
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, frame: RgbImage) -> None:
        """Takes the next frame.

        Raises:
            MediaError: it differs from the others in size.
        """
        if self._shape is None:
            self._shape = frame.shape
        elif frame.shape != self._shape:
            raise MediaError("the frames of this clip differ in size")
        self._count += 1
        self._frames.append(frame)
        if len(self._frames) * frame.nbytes > self._most_bytes:
            self._write()

    def array(self) -> np.ndarray:
        """All frames, uint8 (count, height, width, 3); to be called once.

        Raises:
            ValueError: there are none.
        """
        if self._shape is None:
            raise ValueError("no frames")
        if self._file is None:
            return np.stack(self._frames)
        with self._file:
            self._write()
            self._file.flush()
            return np.memmap(self._file, np.uint8, "r", shape=(self._count, *self._shape))

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="hearonce-frames-")  # noqa: SIM115
        for frame in self._frames:
            self._file.write(np.ascontiguousarray(frame).data)
        self._frames = []


CLIPS_AT_A_TIME = 8
"""Clips whose frames are gathered at the same time; 8 clips of 8 frames in full HD take 400 MB."""

Convert = Callable[[av.VideoFrame], RgbImage]


class FrameReader:
    """Turns clips into rows to embed, and rows into frames for `Tower.prepare`.

    Args:
        clip_input: which frames of a clip the tower is given.
        clips: the wanted clips.
        kinds: of the media that have one, by digest (`pipeline.media.length`); unknown by default.
        max_pixels: a frame with more of them is not decoded.
    """

    def __init__(
        self,
        clip_input: FrameInput | FrameRate,
        clips: Sequence[Clip],
        kinds: Mapping[str, str] | None = None,
        max_pixels: int = DEFAULT.max_pixels,
    ) -> None:
        self._clip_input, self._max_pixels = clip_input, max_pixels
        self._kinds = kinds
        self._clips = Clips.of(clips)
        self.rows = WantedRows(self._clips.ids, self._keys(), self._clips.first_files(), self._clips.names)

    def _keys(self) -> np.ndarray:
        if timed(self._clip_input) and not any(source.is_dir() for source in self._clips.sources()):
            return self._clips.keys("", renditions(self._kinds or {}, "video"))
        special = renditions(self._kinds or {}, "video")
        return pack_keys([clip.key(self._rendition(clip), special) for clip in self._clips])

    def _rendition(self, clip: Clip) -> str:
        try:
            return sample(self._clip_input, clip).rendition
        except Exception:  # reported when it is read
            return ""

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex([self.rows.keys])

    def _clips_of(self, rows: Sequence[Row]) -> list[Clip]:
        return self._clips.take(self._index.find([row.key for row in rows]))

    def part(self, rows: Sequence[Row]) -> FrameReader:
        """A reader of these rows alone."""
        return FrameReader(self._clip_input, self._clips_of(rows), self._kinds, self._max_pixels)

    def read(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Any]]:
        """Yields (row, frames) for rows whose first file is the same; an exception stands for what failed.

        The file is read once, unless so many clips overlap that their frames would fill the memory.
        """
        pending: list[_Pending] = []
        for row, clip in zip(rows, self._clips_of(rows), strict=True):
            try:
                pending.append(_Pending(row, clip, sample(self._clip_input, clip)))
            except Exception as error:  # the clip's: the others are read
                yield row, error
        convert: Convert | None = None
        if isinstance(self._clip_input, FrameRate) and self._clip_input.short_side is not None:
            convert = Scaling(self._clip_input.short_side, self._clip_input.crop)
        firsts = [pending_row.clip.spans[0] for pending_row in pending]
        for part in passes([(span.start_s, span.stop_s) for span in firsts], CLIPS_AT_A_TIME):
            yield from _read([pending[i] for i in part], convert, self._kinds, self._max_pixels)


@dataclass
class _Pending:
    """A row whose frames are being gathered."""

    row: Row
    clip: Clip
    sample: Sample
    frames: dict[int, RgbImage] = field(default_factory=dict)
    stack: FrameStack = field(default_factory=FrameStack)
    last_slot: int = -1
    done: bool = False
    fault: Exception | None = None

    def add(self, slot: int, frame: RgbImage) -> None:
        """Takes a frame. At a constant rate there can be many: they come in playing order and go onto the stack."""
        if not self.sample.until_end:
            self.frames[slot] = frame
        elif self.fault is None:
            try:
                if slot <= self.last_slot:
                    raise MediaError("the stretches of this clip are not in the order of their file")
                self.last_slot = slot
                self.stack.add(frame)
            except Exception as error:  # a full disk at the file of a large stack, for example
                self.fault = error

    @property
    def complete(self) -> bool:
        """Whether all frames have come."""
        return max(len(self.frames), len(self.stack)) == len(self.sample.positions)

    def taken(self) -> np.ndarray | Exception:
        """The frames in playing order, which are then forgotten."""
        self.done = True
        try:
            for slot in sorted(self.frames):
                self.stack.add(self.frames.pop(slot))
            return self.fault or self.stack.array()
        except Exception as error:
            return error

    def absence(self) -> MediaError:
        """Why a frame is missing though its file could be read."""
        if not self.sample.numbered:
            return MediaError("no frame in this clip")
        missing = [self.sample.positions[slot] for slot in range(len(self.sample.positions)) if slot not in self.frames]
        return MediaError(f"there is no frame {missing[0]}")


def _read(
    pending: list[_Pending], convert: Convert | None, kinds: Mapping[str, str] | None, max_pixels: int
) -> Iterator[tuple[Row, Any]]:
    """Goes once through each file that has frames of these rows."""
    files: dict[str, tuple[Source, list[tuple[_Pending, int]]]] = {}
    for pending_row in pending:
        for slot, which in enumerate(pending_row.sample.spans):
            span = pending_row.clip.spans[which]
            files.setdefault(span.digest, (span.source, []))[1].append((pending_row, slot))
    for digest, (source, wanted) in files.items():
        try:
            with held(source, digest) as medium:
                numbers = [int(pending_row.sample.positions[slot]) for pending_row, slot in wanted]
                in_folder = medium.folder_frames(numbers, wanted[0][0].sample.clamped)
                kind = None if kinds is None else kinds.get(digest, "")
                for index, frame in _frames(medium.path, wanted, convert, kind, max_pixels):
                    pending_row, slot = wanted[index]
                    if in_folder is not None:
                        in_folder.check(numbers[index])
                    pending_row.add(slot, frame)
                    if pending_row.complete:
                        if in_folder is None:
                            medium.check()
                        yield pending_row.row, pending_row.taken()
        except Exception as error:  # the file's: clips of other files are read
            for pending_row, _ in wanted:
                pending_row.fault = error
    for pending_row in pending:
        if not pending_row.done and not pending_row.fault and pending_row.sample.until_end and len(pending_row.stack):
            yield pending_row.row, pending_row.taken()
        elif not pending_row.done:
            yield pending_row.row, pending_row.fault or pending_row.absence()


def _frames(
    source: Path, wanted: list[tuple[_Pending, int]], convert: Convert | None, kind: str | None, max_pixels: int
) -> Iterator[tuple[int, RgbImage]]:
    positions = [pending_row.sample.positions[slot] for pending_row, slot in wanted]
    first = wanted[0][0].sample
    if first.numbered:
        numbers = [int(number) for number in positions]
        return read_numbered(source, numbers, clamp=first.clamped, max_pixels=max_pixels, kind=kind)
    past_end = not first.until_end
    return read_frames(source, positions, convert=convert, past_end=past_end, max_pixels=max_pixels, kind=kind)
