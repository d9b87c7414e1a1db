"""Pictures made smaller as `ffmpeg -vf scale=…,crop=…` makes them: by these very filters of the FFmpeg in PyAV."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import Colorspace

from pipeline.media.display import RESERVED_MATRIX, Picture, turn_of
from pipeline.media.errors import MediaError
from pipeline.media.limits import DEFAULT


def scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """The width and height at which the smaller is `short_side` and the other keeps the proportions, rounded down."""
    if width < height:
        return short_side, max(height * short_side // width, 1)
    return max(width * short_side // height, 1), short_side


class Scaling:
    """Turns decoded frames into RGB pictures of a given short side, in display orientation.

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

    def __call__(self, frame: av.VideoFrame) -> Picture:
        """The picture, uint8 (height, width, 3).

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
            picture = self._graph.vpull().to_ndarray()
        except av.error.FFmpegError as error:
            self._graph = None
            raise MediaError(f"no conversion to RGB from {frame.format.name} ({error.strerror})") from error
        return np.asarray(picture, np.uint8)

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
