"""The sound of a file, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.media.clock import Clock
from pipeline.media.decoding import Ending, decoded
from pipeline.media.opening import timed_streams
from pipeline.media.pcm import Samples, frame_values
from pipeline.media.timeline import SampleClock

Kind = tuple[int, str, str]
"""Sample rate, channel layout, sample format."""

UNSAFE_PLANES = 8
"""PyAV 18 looks for a null pointer after the last plane of a frame; from eight planes on there is none."""


@dataclass(frozen=True)
class Block:
    """Decoded samples.

    Attributes:
        start: the sample position that the timestamp says; None if there is no timestamp.
        values: as the decoder made them, (n, channels).
        lost: something before it could not be decoded.
        follows: it begins a part of a file without frames, and follows what came before to the sample.
        loose: it goes on in a part of another rate, within which timestamps are not exact.
    """

    start: int | None
    values: Samples
    lost: bool
    follows: bool = False
    loose: bool = False


class SoundDecoder:
    """Decodes a sound track once, from start to end.

    What cannot be decoded is left out. Where the track changes its sample rate or channels on the way, the rest is
    converted to those of the first block.

    Attributes:
        sample_rate: of all blocks; known after the first.
        corrupt: packets that could not be decoded.
        fault: FFmpeg's words for the last of them.
        ended: FFmpeg's words for what ended the reading before the end of the file, else empty.
        alone: whether the file holds nothing else that has a time.
    """

    def __init__(self, container: InputContainer, stream: AudioStream, clock: Clock) -> None:
        self.sample_rate = 0
        self.corrupt = 0
        self.fault = ""
        self.ended = ""
        self._container = container
        self._stream = stream
        self._zero = clock.zero
        self._shifter = clock.shifter(stream.index)
        self.alone = len(timed_streams(container)) == 1
        self._follows = False
        self._lost = False
        self._clocks: dict[tuple[int, int], SampleClock] = {}
        stream.codec_context.thread_count = 1
        if stream.codec_context.name == "flac":
            stream.codec_context.options = {"err_detect": "crccheck+explode"}

    def blocks(self) -> Iterator[Block]:
        """Yields the sound in the order of the file."""
        target: Kind | None = None
        resampler: av.AudioResampler | None = None
        resampled: Kind | None = None
        for frame, lost in self._frames():
            kind = (frame.sample_rate, frame.layout.name, frame.format.name)
            if target is None:
                target = _readable(frame)
                self.sample_rate = frame.sample_rate
            if resampler is not None and kind != resampled:
                yield from self._blocks(self._convert(resampler, None), lost=False)
                resampler = None
            if kind == target:
                yield from self._blocks([frame], lost)
                continue
            loose = resampler is not None and self._shifter is not None and frame.sample_rate != self.sample_rate
            if resampler is None:
                rate, layout, format_name = target
                resampler = av.AudioResampler(format_name, layout, rate)
                resampled = kind
            yield from self._blocks(self._convert(resampler, frame), lost, loose)
        if resampler is not None:
            yield from self._blocks(self._convert(resampler, None), lost=False)

    def _convert(self, resampler: av.AudioResampler, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        try:
            return list(resampler.resample(frame))
        except av.error.FFmpegError as error:
            self._note(str(error.strerror) if frame else "")
            return []

    def _note(self, fault: str) -> None:
        if fault:
            self.corrupt += 1
            self.fault = fault
            self._lost = True

    def _blocks(self, frames: list[av.AudioFrame], lost: bool, loose: bool = False) -> Iterator[Block]:
        for frame in frames:
            follows, self._follows = self._follows and self.alone, False
            yield Block(self._start(frame), frame_values(frame), lost, follows, loose)
            lost = False

    def _start(self, frame: av.AudioFrame) -> int | None:
        if frame.pts is None or not frame.time_base:
            return None
        base = frame.time_base
        unit = base.numerator, base.denominator  # hashed in a tenth of the time that a fraction takes
        if unit not in self._clocks:
            self._clocks[unit] = SampleClock(base, self._zero, self.sample_rate)
        return self._clocks[unit].position(frame.pts)

    def _frames(self) -> Iterator[tuple[av.AudioFrame, bool]]:
        for frames, fault in decoded(self._container, self._stream, self._shifter):
            self._note(fault)
            if isinstance(fault, Ending):
                self.ended = str(fault)
            if self._shifter is not None and self._shifter.fresh:
                self._follows, self._shifter.fresh = True, False
            for frame in frames:
                if frame.samples:
                    lost, self._lost = self._lost, False
                    yield frame, lost


def _readable(frame: av.AudioFrame) -> Kind:
    """The frame's own kind, or one that can be read where PyAV would run over the end of its planes."""
    too_many = frame.format.is_planar and frame.layout.nb_channels >= UNSAFE_PLANES
    return frame.sample_rate, frame.layout.name, frame.format.packed.name if too_many else frame.format.name
