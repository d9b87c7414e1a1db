"""Which frames of a clip an encoder is given: by time, or by the frame numbers of EgoVLP's readers.

EgoVLP (https://arxiv.org/abs/2206.01670) cuts the frame numbers of a clip into equal stretches and takes the middle of
each. Its two readers number frames differently, and the rows of a cache depend on the very frames, so that both are
kept as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.media.containers import MediaError
from pipeline.media.frames import middle_times
from stages.embed.clips import Clip, Span
from stages.embed.encoder import FrameInput, FrameRate

EGO4D_RATE = 30
"""Frames per second that EgoVLP assumes in every video of Ego4D."""

EGO4D_CHUNK_S = 600
"""Length of the chunks into which EgoVLP's users cut the videos of Ego4D."""


@dataclass(frozen=True)
class Sample:
    """The frames of a clip, in playing order.

    Attributes:
        spans: for each frame, which stretch of the clip it lies in.
        positions: for each frame seconds in that stretch's file, or its number there (1 is the first).
        numbered: positions are numbers.
        clamped: a number past the end of the file stands for its last frame.
        until_end: a time past the end of the file has no frame, and the clip that many fewer.
    """

    spans: Sequence[int]
    positions: Sequence[float]
    numbered: bool = False
    clamped: bool = False
    until_end: bool = False

    @property
    def rendition(self) -> str:
        """What the row key has to say about it: the numbers; times follow from the clip's own."""
        if not self.numbered:
            return ""
        return "frames " + " ".join(f"{span}:{number}" for span, number in zip(self.spans, self.positions, strict=True))


MOST_FRAMES = 1_000_000
"""Of one clip at a constant rate: eleven hours at 24 per second."""

TIE_S = 2e-6
"""A frame whose time lies exactly between two periods of a constant rate belongs to the later one."""

FRAME_S = 1 / 30
"""How long a frame is taken to be shown where frames are not counted."""


def sample(clip_input: FrameInput | FrameRate, clip: Clip) -> Sample:
    """Chooses the frames of a clip.

    Raises:
        MediaError: the sampling asks for frame numbers that the clip lacks, or finds no frame.
    """
    if isinstance(clip_input, FrameRate):
        return constant_rate(clip, clip_input.fps)
    chosen = SAMPLINGS[clip_input.sampling](clip, clip_input.count)
    if not chosen.positions:
        raise MediaError("the clip ends before its first frame")
    return chosen


def timed(clip_input: FrameInput | FrameRate) -> bool:
    """Whether frames of videos are chosen by time, so that row keys need no sampling: see `Sample.rendition`."""
    return isinstance(clip_input, FrameRate) or clip_input.sampling in ("middle-of-parts", "first-to-last")


def middle_of_parts(clip: Clip, count: int) -> Sample:
    """The frames shown in the middle of `count` equal parts of the clip; in a folder of frames, by their numbers."""
    if any(span.source.is_dir() for span in clip.spans):
        ranges = [_frame_range(span) for span in clip.spans]
        chosen = _middles([(first, last + 1) for first, last in ranges], count)
        return Sample([span for span, _ in chosen], [int(number) for _, number in chosen], numbered=True)
    chosen = _middles([(span.start_s, span.stop_s) for span in clip.spans], count)
    return Sample([span for span, _ in chosen], [time_s for _, time_s in chosen])


def first_to_last(clip: Clip, count: int) -> Sample:
    """The first frame of the clip, its last, and those between at equal distances, as PE-AV's processor takes them.

    Of n frames that processor takes number floor(i (n - 1) / (count - 1)). Here a clip's frames are not counted, and a
    frame is taken to last 1/30 s: the same frames at 30 per second, at other rates the next ones now and then.
    """
    if len(clip.spans) != 1:
        raise MediaError("sampling first-to-last knows no clip that goes on in a second file")
    span, steps = clip.spans[0], max(count - 1, 1)
    if span.source.is_dir():
        first, last = _frame_range(span)
        return Sample([0] * count, [first + i * (last - first) // steps for i in range(count)], numbered=True)
    length_s = max(span.stop_s - span.start_s - FRAME_S, 0.0)
    return Sample([0] * count, [span.start_s + i * length_s / steps + TIE_S for i in range(count)])


def constant_rate(clip: Clip, fps: int) -> Sample:
    """The frames that FFmpeg's filter `fps` shows of a clip: of each period the one in its middle.

    That is the last frame whose time, in periods and rounded (halves up), is not after the period's number.
    """
    if any(span.source.is_dir() for span in clip.spans):
        raise MediaError("a constant rate needs a video: frames in a folder have numbers but no times")
    begins = np.cumsum([0.0, *(span.stop_s - span.start_s for span in clip.spans)])
    length_s = float(begins[-1])
    if length_s * fps > MOST_FRAMES:
        raise MediaError(
            f"a clip of {length_s:.0f} s has more than {MOST_FRAMES} frames at {fps} per second: cut it into windows"
        )
    count = max(int(length_s * fps + 0.5 + 1e-6), 1)
    times = np.minimum((np.arange(count) + 0.5) / fps, length_s / 2 if count == 1 else length_s) - TIE_S
    which = np.searchsorted(begins[1:-1], times, side="right")
    starts = np.array([span.start_s for span in clip.spans])
    return Sample(which.tolist(), (starts[which] + times - begins[which]).tolist(), until_end=True)


def egovlp_epic(clip: Clip, count: int) -> Sample:
    """As EgoVLP's reader of EPIC-KITCHENS: by the annotations' frame numbers, 1 being the first frame.

    A number may be one less than the start of a very short clip, and a clip that ends before frame `count` of its
    video gets fewer frames. A number that does not exist makes the clip a problem; EgoVLP embeds a black frame.
    """
    if len(clip.spans) != 1:
        raise MediaError("sampling egovlp-epic knows no clip that goes on in a second file")
    numbers = uniform_numbers(count, *_frame_range(clip.spans[0]))
    return Sample([0] * len(numbers), numbers, numbered=True)


def egovlp_egomcq(clip: Clip, count: int) -> Sample:
    """As EgoVLP's reader of EgoMCQ: by seconds at 30 frames per second, whatever the rate of the video.

    Where the clip has frame numbers, they are taken for those of the whole video at that rate. The reader seeks one
    frame before the number, counted from 0; a clip of fewer numbers than frames repeats its last one.

    Files named by a number, `0.mp4`, `1.mp4`, ..., are chunks: times are rounded to frames on the clock of the whole
    video, and numbers wrap at the boundary, so that the frame there is the first of the first chunk, and the one before
    a chunk, which a very short clip may ask for, its last. A file of another name is a whole video.
    """
    if len(clip.spans) > 2:
        raise MediaError("sampling egovlp-egomcq knows no clip in more than two files")
    first, last, two = clip.spans[0], clip.spans[-1], len(clip.spans) == 2
    chunk = int(first.source.stem) if first.source.stem.isdecimal() else None
    chunk_s = round(first.stop_s) if two else EGO4D_CHUNK_S
    begin_s = chunk_s * (chunk or 0)
    start, stop = first.start_frame, last.stop_frame
    if start is None or stop is None:
        start = int((first.start_s + begin_s) * EGO4D_RATE)
        stop = int((last.stop_s + begin_s + chunk_s * two) * EGO4D_RATE)
    bound = chunk_s * EGO4D_RATE
    numbers = [number - begin_s * EGO4D_RATE for number in uniform_numbers(count, start, stop)]
    spans = [int(two and number > bound) for number in numbers]
    wrapped = [number % bound if two or chunk is not None else number for number in numbers]
    positions = [max(number, 1) for number in wrapped]  # one before the number, then counted from 1
    missing = count - len(positions)
    return Sample(spans + spans[-1:] * missing, positions + positions[-1:] * missing, numbered=True, clamped=True)


SAMPLINGS: dict[str, Callable[[Clip, int], Sample]] = {
    "middle-of-parts": middle_of_parts,
    "first-to-last": first_to_last,
    "egovlp-epic": egovlp_epic,
    "egovlp-egomcq": egovlp_egomcq,
}


def uniform_numbers(count: int, start: int, stop: int) -> list[int]:
    """The frame number in the middle of each of `count` equal stretches from `start` to `stop`, as EgoVLP finds it.

    There are no more stretches than `stop` (not than frames in the clip), and the middle of an empty one lies before
    it: both follow EgoVLP's `sample_frames_start_end`.
    """
    edges = np.linspace(start, stop, max(min(count, stop), 0) + 1).astype(int).tolist()
    return [(one + other - 1) // 2 for one, other in pairwise(edges)]


def _frame_range(span: Span) -> tuple[int, int]:
    if span.start_frame is None or span.stop_frame is None:
        raise MediaError(
            "the clip has no frame numbers: let the corpus's reader give them, or choose `sampling: middle-of-parts`"
            if not span.source.is_dir()
            else "a clip in a folder of frames needs frame numbers, and the corpus's reader gave none"
        )
    return span.start_frame, span.stop_frame


def _middles(stretches: list[tuple[float, float]], count: int) -> list[tuple[int, float]]:
    """The midpoints of `count` equal parts of stretches laid end to end: (stretch, position in it)."""
    if len(stretches) == 1:
        return [(0, time) for time in middle_times(*stretches[0], count)]
    begins = np.cumsum([0.0, *(stop - start for start, stop in stretches)])
    found = []
    for time in middle_times(0.0, float(begins[-1]), count):
        which = min(int(np.searchsorted(begins, time, side="right")) - 1, len(stretches) - 1)
        found.append((which, stretches[which][0] + time - float(begins[which])))
    return found
