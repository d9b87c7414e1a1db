"""The frames of a video at given times, in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from pipeline.media.clock import Clock, quick_clock
from pipeline.media.containers import DEFAULT, MediaError
from pipeline.media.decoding import decoded, read_only
from pipeline.media.opening import best_video, open_media

RgbImage = NDArray[np.uint8]
"""(height, width, 3), red, green, blue."""

RESERVED_MATRIX = 3
"""A colour matrix that means nothing, yet some files name it."""


@dataclass(frozen=True)
class Turn:
    """How stored pixels become displayed ones: transposed first, then mirrored.

    Attributes:
        transpose: rows become columns.
        flip_x: mirrored left to right.
        flip_y: mirrored top to bottom.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def degrees(self) -> int:
        """The rotation, clockwise; of a mirrored image, the one that is left when it is mirrored back."""
        if self.transpose:
            return 270 if self.flip_y else 90
        return 180 if self.flip_y else 0

    def apply(self, image: RgbImage) -> RgbImage:
        """Turns an image (height, width, channels)."""
        turned = image.transpose(1, 0, 2) if self.transpose else image
        return np.ascontiguousarray(turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


def turn_of(frame: av.VideoFrame) -> Turn:
    """The turn that a frame's display matrix asks for, to the nearest quarter."""
    # frame.side_data would do, but frame and container then hold each other, and memory waits for the cycle collector.
    matrix = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]  # PyAV's stub lacks it
    if matrix is None:
        return Turn()
    across_x, across_y, _, down_x, down_y = (int(value) for value in np.frombuffer(bytes(matrix), np.int32)[:5])
    if abs(across_y) + abs(down_x) > abs(across_x) + abs(down_y):
        return Turn(True, flip_x=down_x < 0, flip_y=across_y < 0)
    return Turn(False, flip_x=across_x < 0, flip_y=down_y < 0)


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> RgbImage:
    """The displayed image; colours by the frame's own matrix and range.

    Raises:
        MediaError: there is no conversion to RGB for its pixel format or colour matrix.
    """
    return turn_of(frame).apply(to_array(frame, reformatter))


def to_array(
    frame: av.VideoFrame, reformatter: VideoReformatter, order: str = "rgb24", size: tuple[int, int] | None = None
) -> RgbImage:
    """The stored image, before any turn; colours by the frame's own matrix and range.

    Args:
        frame: decoded.
        reformatter: that converts it.
        order: of the channels, `rgb24` or `bgr24`.
        size: width and height to scale to (bicubic); by default the frame's.

    Raises:
        MediaError: there is no conversion to RGB for its pixel format or colour matrix.
    """
    matrix = Colorspace.ITU601 if frame.colorspace == RESERVED_MATRIX else None
    width, height = size or (None, None)
    try:
        converted = reformatter.reformat(
            frame, width, height, format=order, src_colorspace=matrix, dst_colorspace=matrix, threads=1
        )
    except av.error.FFmpegError as error:
        raise MediaError(f"no conversion to RGB from {frame.format.name} ({error.strerror})") from error
    return np.asarray(converted.to_ndarray(), np.uint8)


AHEAD_S = 2.5
"""A wanted time further ahead than this is sought rather than decoded up to, where no index tells better."""

NEAR_S = 0.25
"""A wanted time closer than this is decoded up to in any case."""

SLACK_S = 1e-6
"""A frame this little after a wanted time still counts as shown: times are floats, timestamps are fractions."""


def middle_times(start_s: float, stop_s: float, count: int) -> list[float]:
    """The midpoints of `count` equal parts of a clip."""
    if count < 1:
        raise ValueError(f"count is {count}, it must be at least 1")
    return [start_s + (stop_s - start_s) * (2 * part + 1) / (2 * count) for part in range(count)]


def read_frames(
    source: Path,
    times_s: Sequence[float],
    threads: int = 1,
    convert: Callable[[av.VideoFrame], RgbImage] | None = None,
    past_end: bool = True,
    max_pixels: int = DEFAULT.max_pixels,
    kind: str | None = None,
) -> Iterator[tuple[int, RgbImage]]:
    """Yields the frame shown at each time, as RGB uint8 (height, width, 3) in display orientation.

    The frame shown at a time is the last one whose timestamp is not after it; the first one before that; the last
    one that can be decoded past the end. Frames come in the order of their times. The file is opened once and read
    forwards, with jumps over stretches in which nothing is wanted; if it is several recordings one after another
    (`pipeline.media.clock`), without.

    Args:
        source: the video, or a still image.
        times_s: seconds, in any order, from the earliest audio or video of the file.
        threads: of the decoder; one is best where many files are read at once.
        convert: makes the array of a frame, instead of RGB of its own size.
        past_end: whether times after the last frame has been shown give that frame, rather than none.
        max_pixels: a frame with more of them counts as broken.
        kind: of the file, as `pipeline.media.probe` finds it; see `quick_clock`.

    Yields:
        (index into `times_s`, image); every image is an array of its own.

    Raises:
        MediaError: there is no video track.
        ValueError: a time is no finite number.
    """
    if not all(map(math.isfinite, times_s)):
        raise ValueError("times must be finite")
    order = sorted(range(len(times_s)), key=lambda index: times_s[index])
    if not order:
        return
    with closing(_Reader(source, threads, max_pixels, kind)) as reader:
        if convert is None:
            reformatter = VideoReformatter()
            convert = lambda frame: to_rgb(frame, reformatter)  # noqa: E731
        shown: av.VideoFrame | None = None
        image = np.empty(0, np.uint8)
        for index in order:
            frame = reader.shown_at(times_s[index])
            if not past_end and times_s[index] >= reader.end_s:
                return
            if frame is not shown:
                shown, image = frame, convert(frame)
                yield index, image
            else:
                yield index, image.copy()


def every_frame(
    source: Path, threads: int = 1, max_pixels: int = DEFAULT.max_pixels, kind: str | None = None
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yields every frame of a video that can be decoded, in one pass, and the time from which it is shown.

    Times are those of `read_frames`: seconds from the earliest audio or video of the file.

    Args:
        source: the video.
        threads: of the decoder.
        max_pixels: a frame with more of them counts as broken.
        kind: of the file, as `pipeline.media.probe` finds it.

    Raises:
        MediaError: there is no video track.
    """
    with closing(_Reader(source, threads, max_pixels, kind)) as reader:
        yield from reader.rest()


class _Reader:
    """A forward reader of a video track that seeks where that is shorter."""

    def __init__(self, source: Path, threads: int, max_pixels: int, kind: str | None) -> None:
        self._source, self._max_pixels = source, max_pixels
        self._threads = threads
        self._file = ExitStack()
        self._kind = kind
        self._clock: Clock | None = None
        self._can_seek = True
        self._ahead_s = AHEAD_S
        self._fault = ""
        self._shown_s = 0.0
        self._shown: av.VideoFrame | None = None
        self._following: tuple[float, av.VideoFrame] | None = None
        self._frames: Iterator[tuple[float, av.VideoFrame]] = iter(())
        self._open()

    def _open(self) -> None:
        """Stands at the start of the file."""
        self._file.close()
        self._container = self._file.enter_context(open_media(self._source, self._max_pixels))
        self._stream = best_video(self._container, self._max_pixels)
        self._clock = self._clock or quick_clock(self._container, self._source, self._kind)
        self._zero = self._clock.zero
        self._can_seek = self._can_seek and self._clock.parts == 1
        self._stream.codec_context.thread_type = "NONE" if self._threads == 1 else "AUTO"
        self._stream.codec_context.thread_count = self._threads
        self._period_s = 1 / float(self._stream.average_rate or self._stream.guessed_rate or 25)
        read_only(self._container, self._stream)
        self._frames = self._decoded()
        self._following = next(self._frames, None)

    def close(self) -> None:
        """Closes the file and lets go of its frames."""
        self._frames = iter(())
        self._shown = self._following = None
        self._file.close()

    def shown_at(self, time_s: float) -> av.VideoFrame:
        """The frame shown at a time that is not before the one asked for last."""
        if self._following and self._worth_seeking(self._following[0], time_s):
            self._seek(self._following[0], time_s)
        while self._following and self._following[0] <= time_s + SLACK_S:
            self._shown_s, self._shown = self._following
            self._following = next(self._frames, None)
        if self._shown is not None:
            return self._shown
        if self._following:
            return self._following[1]
        raise MediaError(f"no frame could be decoded ({self._fault or 'no data'})")

    def rest(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Seconds and frames from the next one to the last that can be decoded.

        Raises:
            MediaError: there is none.
        """
        if self._following is None:
            raise MediaError(f"no frame could be decoded ({self._fault or 'no data'})")
        yield self._following
        yield from self._frames

    @property
    def end_s(self) -> float:
        """When the last frame has been shown; infinite while it has not been reached."""
        if self._following or self._shown is None:
            return math.inf
        duration_s = float((self._shown.duration or 0) * (self._shown.time_base or 0))
        return self._shown_s + (duration_s or self._period_s)

    def _decoded(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Seconds and frames from where the file stands to the last that can be read; broken ones are left out."""
        time_s = -self._period_s
        for frames, fault in self._packets_decoded():
            self._fault = fault or self._fault
            for frame in frames:
                if self._is_too_narrow(frame):
                    self._fault = f"a frame of {frame.width} x {frame.height} pixels"
                    continue
                if frame.pts is None or frame.time_base is None:
                    self._can_seek = False
                    time_s += self._period_s
                else:
                    time_s = float(frame.pts * frame.time_base - self._zero)
                yield time_s, frame

    def _is_too_narrow(self, frame: av.VideoFrame) -> bool:
        """Whether a frame is not of the shape that the file's head had when it was found fit to be used."""
        most = max(DEFAULT.max_aspect, _aspect(self._stream.width, self._stream.height))
        return _aspect(frame.width, frame.height) > most

    def _packets_decoded(self) -> Iterator[tuple[list[av.VideoFrame], str]]:
        shifter = self._clock.shifter(self._stream.index) if self._clock else None
        if shifter is None:
            return decoded(self._container, self._stream)
        return decoded(self._container, self._stream, shifter)

    def _worth_seeking(self, reached_s: float, time_s: float) -> bool:
        """Whether a keyframe is known, or likely, between the next frame and a time."""
        if not self._can_seek or time_s - reached_s < NEAR_S:
            return False
        wanted, index = self._stamp(time_s), self._stream.index_entries
        if len(index) > 1 and index[len(index) - 1].timestamp >= wanted:
            keyframe = index.search_timestamp(wanted)
            return keyframe >= 0 and index[keyframe].timestamp > self._stamp(reached_s)
        return time_s - reached_s > self._ahead_s

    def _seek(self, reached_s: float, time_s: float) -> None:
        """Goes on at a keyframe not after the time: the nearest, else ever earlier ones, else the start of the file."""
        back_s = 0.0
        while True:
            goal_s = time_s - back_s
            if goal_s <= 0:
                return self._open()
            try:
                self._container.seek(self._stamp(goal_s), stream=self._stream)
            except av.error.FFmpegError:
                self._can_seek = False
                return
            self._frames = self._decoded()
            self._following = next(self._frames, None)
            if self._following and self._following[0] <= time_s + SLACK_S:
                if self._following[0] <= reached_s:
                    self._ahead_s = max(self._ahead_s, 2 * (time_s - self._following[0]))
                return
            back_s = max(2.0, 4 * back_s)

    def _stamp(self, time_s: float) -> int:
        """A time as a timestamp of the stream."""
        return int((Fraction(min(time_s, 1e7)) + self._zero) / Fraction(self._stream.time_base or 1))


def _aspect(width: int, height: int) -> float:
    return max(width, height) / max(min(width, height), 1)


def scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """The width and height at which the smaller is `short_side` and the other keeps the proportions, rounded down."""
    if width < height:
        return short_side, max(height * short_side // width, 1)
    return max(width * short_side // height, 1), short_side


class Scaling:
    """Turns decoded frames into RGB images of a given short side, in display orientation.

    Scaling (bicubic) and the conversion of colours are one step, as in a command line of FFmpeg. It keeps the filters
    that it has set up, so that an object serves one video after another, but one thread at a time.

    Args:
        short_side: the smaller of width and height.
        crop: cut out the square in the middle; where an odd number of columns or rows is left over, the larger half of
            them lies after it.
    """

    def __init__(self, short_side: int, crop: bool = False) -> None:
        self._short_side, self._crop = short_side, crop
        self._made_for: tuple[object, ...] = ()
        self._graph: Graph | None = None

    def __call__(self, frame: av.VideoFrame) -> RgbImage:
        """The image, uint8 (height, width, 3).

        Raises:
            MediaError: there is no conversion to RGB for its pixel format or colour matrix.
        """
        turn = turn_of(frame)
        if frame.colorspace == RESERVED_MATRIX:
            frame.colorspace = Colorspace.ITU601
        described = (frame.width, frame.height, frame.format.name, turn)
        try:
            if self._graph is None or described != self._made_for:
                filters = [
                    *([("transpose", "dir=cclock_flip")] if turn.transpose else []),
                    *([("hflip", "")] if turn.flip_x else []),
                    *([("vflip", "")] if turn.flip_y else []),
                    *self._filters(*((frame.height, frame.width) if turn.transpose else (frame.width, frame.height))),
                ]
                self._graph, self._made_for = _graph(frame, filters), described
            self._graph.vpush(frame)
            image = self._graph.vpull().to_ndarray()
        except av.error.FFmpegError as error:
            self._graph = None
            raise MediaError(f"no conversion to RGB from {frame.format.name} ({error.strerror})") from error
        return np.asarray(image, np.uint8)

    def _filters(self, width: int, height: int) -> list[tuple[str, str]]:
        wide, high = scaled_size(width, height, self._short_side)
        if wide * high > DEFAULT.max_pixels:
            raise MediaError(f"a frame of {width} x {height} pixels would be scaled to {wide} x {high}")
        scale, rgb = ("scale", f"{wide}:{high}"), ("format", "rgb24")
        if not self._crop:
            return [scale, rgb]
        side = self._short_side
        return [scale, ("crop", f"{side}:{side}:{(wide - side) // 2}:{(high - side) // 2}"), rgb]


def _graph(frame: av.VideoFrame, filters: list[tuple[str, str]]) -> Graph:
    """A chain of filters for frames like this one."""
    graph = Graph()
    graph.threads = 1  # many files are read at once
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base or Fraction(1, 1000)
    )
    for name, arguments in filters:
        added = graph.add(name, arguments)
        last.link_to(added)
        last = added
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph
