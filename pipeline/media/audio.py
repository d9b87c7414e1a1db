"""Audio: from any media file to FLAC once, and from FLAC to the segment and rate an encoder wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal

import av
import numpy as np
import soundfile
import soxr
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from pipeline.media.clock import TS_DISCONT, Clock, read_clock
from pipeline.media.containers import MediaError
from pipeline.media.decoding import Ending, SampleClock, Timeline, decoded, read_only
from pipeline.media.flac import MOST_CHANNELS, CheckedFile, FlacWriter, Samples, flac_file, frame_values, mix_to_mono
from pipeline.media.length import WITHOUT_HEADER, duration, recordings, shortfall
from pipeline.media.opening import best_audio, first_bytes, open_media, reading, timed_streams
from pipeline.media.times import sample_position, sample_span

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


class AudioDecoder:
    """Decodes a audio track once, from start to end.

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
        """Yields the audio in the order of the file."""
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


FEW_CLIPPED = 0.01
"""Codecs of music overshoot full scale here and there; a share below this is as good as none."""

IN_A_ROW = frozenset({"matroska,webm", "flv", "tta"})
"""Formats whose packets fill the file from start to end."""

READ_THROUGH = frozenset({"avi"})
"""Formats of which FFmpeg reads all files that are joined by bytes."""

MUCH_UNREAD = 0.1
"""A larger share of such a file after its last packet is reported: it is no index."""

UNCOUNTED_S = 0.3
"""Audio that is longer than its timestamps say by more is reported, or shorter where they count what was read."""

MANY_FAR_BEYOND = 0.01
"""A larger share of samples far beyond full scale is refused."""


@dataclass(frozen=True)
class AudioFile:
    """An extracted audio track.

    Attributes:
        sample_rate: of the FLAC file.
        channels: in it.
        n_samples: per channel.
        warning: what could not be decoded, or None.
    """

    sample_rate: int
    channels: int
    n_samples: int
    warning: str | None = None


def extract_audio(
    source: Path,
    target: Path,
    channels: Literal["keep", "mono"] = "keep",
    bits: Literal[16, 24] = 16,
    clock: Clock | None = None,
) -> AudioFile:
    """Decodes the audio track of a media file once and writes it as FLAC, with bounded memory.

    Sample 0 of the FLAC file is time 0 of the medium (its earliest audio or video). Holes of more than 0.1 s in the
    timestamps are filled with silence, overlaps of more than 0.1 s dropped; where timestamps start again, another
    recording follows the one before (`pipeline.media.clock`). Samples beyond full scale are clipped, and the warning
    tells their share, unless they are few and of a lossy codec. The same file gives the same bytes.

    Args:
        source: the media file.
        target: the FLAC file; replaced if it exists.
        channels: "keep" those of the source (more than 8 are mixed to one), or "mono", their mean.
        bits: per sample; x * 2^(bits - 1) is rounded half to even and clipped.
        clock: what the packets of the file say of its time; they are read first if None.

    Raises:
        MediaError: there is no audio that can be decoded, or its samples are numbers of another scale than 1: more than
            1 % of them are beyond 8 times full scale.
        WriteError: the target cannot be written.
    """
    with reading(), open_media(source) as container:
        stream = best_audio(container)
        clock = clock or read_clock(source)
        length = duration(container, source, clock)
        read_only(container, stream)
        decoder = AudioDecoder(container, stream, clock)
        blocks = decoder.blocks()
        first = next(blocks, None)
        if first is None:
            raise MediaError(f"no audio could be decoded ({decoder.fault})" if decoder.fault else "zero duration")
        native = first.values.shape[1]
        too_many = channels == "keep" and native > MOST_CHANNELS
        limit = sample_position(length + 1, decoder.sample_rate)
        counted = container.format.name in WITHOUT_HEADER or (clock.parts > 1 and decoder.alone)
        timeline = Timeline(decoder.sample_rate, limit, counted)
        with flac_file(target, decoder.sample_rate, native, channels == "mono" or too_many, bits) as writer:
            for block in chain([first], blocks):
                silence, drop = timeline.place(block.start, len(block.values), block.lost, block.follows, block.loose)
                if silence:
                    writer.write_silence(silence)
                writer.write(block.values[drop:] if drop else block.values)
            if timeline.position == 0:
                raise MediaError("zero duration")
            writer.flush()
            clipped = _clipped(writer, timeline.position * native, "pcm" in stream.codec_context.name)
        decoded_s = Fraction(timeline.position, decoder.sample_rate)
        faults = [
            _count(decoder.corrupt, "corrupt packet", "skipped"),
            _count(timeline.jumps, "timestamp jump", "ignored"),
            f"{timeline.holes / decoder.sample_rate:.2f} s missing, filled with silence" if timeline.holes else "",
            _unread(decoder, clock, decoded_s, counted, container, source)
            or shortfall(container, stream, source, decoded_s, clock),
            clipped,
            f"{native} channels mixed to one (FLAC holds {MOST_CHANNELS})" if too_many else "",
        ]
        warning = "; ".join(fault for fault in faults if fault) or None
        return AudioFile(writer.sample_rate, writer.channels, writer.n_samples, warning)


def _clipped(writer: FlacWriter, n_values: int, lossless: bool) -> str:
    """Says which share of the samples was clipped.

    Raises:
        MediaError: they are numbers of another scale.
    """
    share = writer.clipped / n_values
    if writer.far_beyond > MANY_FAR_BEYOND * n_values:
        raise MediaError(
            f"{_percent(share)} of the samples lie beyond full scale, up to {writer.peak:.3g} times: these are no "
            "floats between -1 and 1 (integers saved as floats?); scale the file"
        )
    if not writer.clipped or (share < FEW_CLIPPED and not lossless):
        return ""
    return f"{_percent(share)} of the samples clipped (up to {writer.peak:.3g} times full scale)"


def _unread(
    decoder: AudioDecoder, clock: Clock, decoded_s: Fraction, counted: bool, container: InputContainer, path: Path
) -> str:
    """Says what clips will not reach: what FFmpeg does not read, or what timestamps count wrongly."""
    if decoder.ended and container.format.flags & TS_DISCONT:  # in others a header tells what is missing
        return f"what follows {float(decoded_s):.1f} s cannot be read ({decoder.ended}): convert each part by itself"
    if (heads := recordings(path)) > 1 and container.format.name not in READ_THROUGH:
        return f"{heads} files joined by bytes, of which the first alone is read rightly: convert each by itself"
    if container.format.name in IN_A_ROW and clock.read_to:
        share = 1 - clock.read_to / path.stat().st_size
        if share > MUCH_UNREAD:
            return f"the last {100 * share:.0f} % of the file cannot be read (joined files? convert each by itself)"
    excess_s = decoded_s - clock.end
    if decoder.alone and (excess_s > UNCOUNTED_S or (counted and abs(excess_s) > UNCOUNTED_S)):
        return (
            f"audio of {float(decoded_s):.1f} s by whose timestamps it has {float(clock.end):.1f} s: convert the file"
        )
    return ""


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _count(number: int, noun: str, verb: str) -> str:
    return f"{number} {noun}{'s' * (number > 1)} {verb}" if number else ""


def read_audio(flac: Path | CheckedFile, start_s: float, stop_s: float, sample_rate: int | None) -> NDArray[np.float32]:
    """Reads a clip from an extracted audio track: one channel (the mean) at the sample rate asked for.

    Args:
        flac: made by `extract_audio`; its path, or the open file.
        start_s: start of the clip.
        stop_s: end of the clip; clamped to the file.
        sample_rate: of the result (soxr, high quality); None for that of the file.

    Returns:
        float32 (n,), n = round(samples of the clip * sample_rate / rate of the file), at least 1.

    Raises:
        MediaError: the clip lies outside the file, or the file is missing or damaged.
    """
    try:
        with soundfile.SoundFile(flac) as file:
            first, last = sample_span(start_s, stop_s, file.samplerate, file.frames)
            file.seek(first)
            samples = file.read(last - first, dtype="float32", always_2d=True)
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        if isinstance(flac, Path):
            first_bytes(flac)
        raise MediaError(f"damaged FLAC file (libsndfile error {error.code})") from error
    if len(samples) < last - first:
        raise MediaError(f"truncated: {len(samples)} of {last - first} samples read")
    mono = _mean_of_channels(samples)
    if sample_rate is None or rate == sample_rate:
        return mono
    wanted = max(round(Fraction(len(mono) * sample_rate, rate)), 1)
    resampled = soxr.resample(mono, rate, sample_rate, quality="HQ")[:wanted]
    return np.pad(resampled, (0, wanted - len(resampled)))


def _mean_of_channels(samples: Samples) -> NDArray[np.float32]:
    """The mean of what libFLAC gave, float32 (n, channels) to (n,).

    Two samples of 16 or 24 bits have a sum that float32 holds exactly, so that it needs no float64, which would take
    as long as a third of the decoding.
    """
    if samples.shape[1] != 2:
        return mix_to_mono(samples)[:, 0].astype(np.float32)
    mono: NDArray[np.float32] = samples[:, 0] + samples[:, 1]
    mono *= np.float32(0.5)
    return mono
