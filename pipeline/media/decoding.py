"""The decoded sound of a file, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.media.opening import time_zero
from pipeline.media.pcm import frame_samples


@dataclass(frozen=True)
class Block:
    """Decoded samples.

    Attributes:
        time_s: seconds from time zero; None if the file does not say.
        samples: floats (n, channels).
        lost: something before it could not be decoded.
    """

    time_s: Fraction | None
    samples: np.ndarray
    lost: bool


class SoundDecoder:
    """Decodes a sound track once, from start to end.

    What cannot be decoded is left out. Where the track changes its sample rate or channels on the way, the rest is
    converted to those of the first block.

    Attributes:
        sample_rate: of all blocks; known after the first.
        corrupt: packets that could not be decoded.
        fault: FFmpeg's words for the last of them.
    """

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self.sample_rate = 0
        self.corrupt = 0
        self.fault = ""
        self._container = container
        self._stream = stream
        self._zero = time_zero(container)
        stream.codec_context.thread_count = 1
        if stream.codec_context.name == "flac":
            stream.codec_context.options = {"err_detect": "crccheck+explode"}

    def blocks(self) -> Iterator[Block]:
        """Yields the sound in the order of the file."""
        first: av.AudioFrame | None = None
        resampler: av.AudioResampler | None = None
        converted: tuple[int, str, str] | None = None
        for frame, lost in self._frames():
            if first is None:
                first = frame
                self.sample_rate = frame.sample_rate
            kind = _kind(frame)
            if resampler is not None and kind != converted:
                yield from self._blocks(resampler.resample(None), lost=False)
                resampler = None
            if kind[:2] == _kind(first)[:2]:
                yield from self._blocks([frame], lost)
                continue
            if resampler is None:
                converted = kind
                resampler = av.AudioResampler(frame.format.planar.name, first.layout, first.sample_rate)
            yield from self._blocks(resampler.resample(frame), lost)
        if resampler is not None:
            yield from self._blocks(resampler.resample(None), lost=False)

    def _blocks(self, frames: list[av.AudioFrame], lost: bool) -> Iterator[Block]:
        for frame in frames:
            stamped = frame.pts is not None and frame.time_base is not None
            time_s = frame.pts * frame.time_base - self._zero if stamped else None
            yield Block(time_s, frame_samples(frame), lost)

    def _frames(self) -> Iterator[tuple[av.AudioFrame, bool]]:
        lost = False
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.fault = str(error.strerror)
                return
            try:
                frames = packet.decode()
            except EOFError:
                return
            except av.error.FFmpegError as error:
                self.corrupt += 1
                self.fault = str(error.strerror)
                lost = True
                continue
            for frame in frames:
                if frame.samples:
                    yield frame, lost
                    lost = False


def _kind(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name
