"""From a decoded frame to the RGB picture a player shows."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from pipeline.media.errors import MediaError

Picture = NDArray[np.uint8]
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
        """The rotation, clockwise; of a mirrored picture, the one that is left when it is mirrored back."""
        if self.transpose:
            return 270 if self.flip_y else 90
        return 180 if self.flip_y else 0

    def apply(self, image: Picture) -> Picture:
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


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> Picture:
    """The displayed picture; colours by the frame's own matrix and range.

    Raises:
        MediaError: there is no conversion to RGB for its pixel format or colour matrix.
    """
    matrix = Colorspace.ITU601 if frame.colorspace == RESERVED_MATRIX else None
    try:
        converted = reformatter.reformat(frame, format="rgb24", src_colorspace=matrix, dst_colorspace=matrix, threads=1)
    except av.error.FFmpegError as error:
        raise MediaError(f"no conversion to RGB from {frame.format.name} ({error.strerror})") from error
    return turn_of(frame).apply(np.asarray(converted.to_ndarray(), np.uint8))
