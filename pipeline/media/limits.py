"""What a medium may claim: beyond these limits it is refused before anything is made of the claim.

A few kilobytes can claim 10^12 seconds, 65,535 channels or pictures of four billion pixels. The limits are settings of
a corpus (`limits:` of `configs/corpora/NAME.yaml`), far above what cameras, screens and recorders make.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

from pipeline.media.errors import MediaError

LARGEST_NUMBER = 2**31 - 1
"""Of a frame in a folder; tables hold numbers of 64 bits, file names of 255 digits."""


@dataclass(frozen=True)
class Limits:
    """Limits of one medium.

    Attributes:
        max_hours: of its length, by its packets.
        max_pixels: of one frame: 8192 x 8192 by default, twice the 8K of televisions.
        max_aspect: how many times longer one side of a frame may be than the other: scaled by its short side, a frame
            of 1 x 65,000 pixels would have billions of them.
        max_channels: of its audio.
        min_sample_rate: of its audio, in hertz: one that is too low makes hours of a few bytes.
        max_sample_rate: likewise.
        max_frames: pictures in a folder of frames.
        max_windows: clips that one medium without times is cut into.
    """

    max_hours: float = 48.0
    max_pixels: int = 8192 * 8192
    max_aspect: float = 100.0
    max_channels: int = 128
    min_sample_rate: int = 50
    max_sample_rate: int = 1_536_000
    max_frames: int = 20_000_000
    max_windows: int = 200_000

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # in a YAML file, a key nobody knows is an error

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be more than 0")

    def check_length(self, seconds: float) -> None:
        """Of a medium.

        Raises:
            MediaError: it is too long, or no number.
        """
        if math.isnan(seconds) or seconds > self.max_hours * 3600:
            raise beyond(f"claims {seconds / 3600:.3g} hours", "max_hours", self.max_hours)

    def check_frame(self, width: int, height: int) -> None:
        """Of a video or a picture, by its size in pixels: 0 where no frame could be decoded, which others say.

        Raises:
            MediaError: it has too many, or is too narrow.
        """
        if width * height > self.max_pixels:
            raise beyond(f"has frames of {width} x {height} pixels", "max_pixels", self.max_pixels)
        if min(width, height) and max(width, height) > self.max_aspect * min(width, height):
            raise beyond(f"has frames of {width} x {height} pixels", "max_aspect", self.max_aspect)

    def check_audio(self, sample_rate: int, channels: int) -> None:
        """Of an audio track.

        Raises:
            MediaError: its rate or number of channels is out of bounds.
        """
        if channels > self.max_channels:
            raise beyond(f"has {channels} audio channels", "max_channels", self.max_channels)
        if sample_rate > self.max_sample_rate:
            raise beyond(f"has audio of {sample_rate} Hz", "max_sample_rate", self.max_sample_rate)
        if sample_rate < self.min_sample_rate:
            raise beyond(f"has audio of {sample_rate} Hz", "min_sample_rate", self.min_sample_rate)

    def check_frames(self, count: int) -> None:
        """Of a folder of frames, by their number.

        Raises:
            MediaError: there are too many.
        """
        if count > self.max_frames:
            raise beyond(f"has {count} frames", "max_frames", self.max_frames)

    def check_windows(self, seconds: float, window_s: float) -> None:
        """Of a medium that is to be cut into windows.

        Raises:
            MediaError: there would be too many.
        """
        if seconds / window_s > self.max_windows:
            count = seconds / window_s
            raise beyond(f"would be cut into {count:.3g} windows of {window_s:g} s", "max_windows", self.max_windows)


DEFAULT = Limits()


def beyond(what: str, setting: str, bound: float) -> MediaError:
    """The error that says what is out of bounds, and which setting says so."""
    return MediaError(f"{what}, and {setting} is {bound:.12g}: change `limits:` of the corpus if this is right")
