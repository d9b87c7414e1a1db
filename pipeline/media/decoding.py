"""Decoding a stream from start to end, whatever is broken in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.stream import Discard, Stream

from pipeline.media.clock import Shifter
from pipeline.media.opening import id3_bytes
from pipeline.monitor.signals import check


class Ending(str):
    """The fault that ended the reading of a file, unlike one that cost a packet."""


def read_only(container: InputContainer, stream: Stream) -> None:
    """Makes the file skip the packets of all other streams."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def packets(
    container: InputContainer, streams: list[Stream], shifter: Shifter | None = None
) -> Iterator[tuple[av.Packet | None, str]]:
    """Reads packets from where the file stands to the last that can be read; the empty ones at the end flush decoders.

    Args:
        container: the file.
        streams: whose packets.
        shifter: moves their timestamps; of one stream, and of a file that stands at its start.

    Yields:
        (packet, ""), or at last (None, fault) where reading ended in an error, in FFmpeg's words.

    Raises:
        Interrupted, Stopped: the run is to end.
    """
    source = container.demux(streams)
    while True:
        check()
        try:
            packet = next(source)
        except StopIteration:
            return
        except IndexError:  # PyAV at the end of a file in which new streams turned up on the way
            return
        except av.error.FFmpegError as error:
            yield None, str(error.strerror)
            return
        if shifter is not None and packet.size:
            shifter(packet)
        yield packet, ""


def decoded(
    container: InputContainer, stream: Stream, shifter: Shifter | None = None
) -> Iterator[tuple[list[Any], str]]:
    """Decodes packet by packet from where the file stands to the last that can be read.

    Args:
        container: the file.
        stream: to decode.
        shifter: moves the timestamps of packets before they are decoded; see `packets`.

    Yields:
        (frames, fault): the fault in FFmpeg's words where a packet could not be decoded, else empty; an `Ending` where
            no more packets could be read.
    """
    source = packets(container, [stream], shifter)
    for packet, fault, anew in _beginnings(source, shifter) if shifter else ((*one, False) for one in source):
        if packet is None:
            yield [], Ending(fault)
            return
        if anew:
            yield _rest(stream), ""
        try:
            yield packet.decode(), ""
        except EOFError:
            return
        except av.error.FFmpegError as error:
            yield _behind_tag(packet, stream) or ([], str(error.strerror))


def _behind_tag(packet: av.Packet, stream: Stream) -> tuple[list[Any], str] | None:
    """Decodes the header that follows an ID3 tag where MP3 files are joined, a frame of silence; None if it is none."""
    data = bytes(packet)
    length = 10 + id3_bytes(data)
    if not data.startswith(b"ID3") or not any(mark in data[length : length + 64] for mark in (b"Xing", b"Info")):
        return None
    rest = av.Packet(data[length:])
    rest.pts, rest.dts, rest.time_base = packet.pts, packet.dts, packet.time_base
    try:
        return stream.codec_context.decode(rest), ""
    except av.error.FFmpegError as error:
        return [], str(error.strerror)


def _beginnings(
    source: Iterator[tuple[av.Packet | None, str]], shifter: Shifter
) -> Iterator[tuple[av.Packet | None, str, bool]]:
    """Packets, and whether the decoder has to begin anew: at the first of a part, unless new headers tell it.

    In Ogg the first packet of a part cannot be told by its timestamp, but it lies in the page of the second.
    """
    held: tuple[av.Packet | None, str, bool] | None = None
    for packet, fault in source:
        anew = packet is not None and packet.size > 0 and shifter.jumped
        if held is not None:
            before = held[0]
            if (
                anew
                and before is not None
                and packet is not None
                and before.pos is not None
                and before.pos == packet.pos
            ):
                held, anew = (before, "", _needs_to(before)), False
                shifter.fresh = True
            yield held
        if anew and packet is not None:
            anew = _needs_to(packet)
            shifter.fresh = True
        held = (packet, fault, anew)
    if held is not None:
        yield held


def _needs_to(first: av.Packet) -> bool:
    """Not where a recording goes on after a jump, in the midst of frames that need those before."""
    return first.is_keyframe and not first.has_sidedata("new_extradata")


def _rest(stream: Stream) -> list[Any]:
    """What the decoder still holds. It then begins anew, as another recording needs it."""
    frames: list[Any] = []
    with suppress(av.error.FFmpegError, EOFError):
        frames = list(stream.codec_context.decode(None))
    stream.codec_context.flush_buffers()
    return frames


TOLERANCE_S = 0.1
"""Timestamps this close to the samples before them are contiguous: containers round and clocks drift."""

LOST_TOLERANCE_S = 0.001
"""The same where something before could not be decoded: the hole it left is kept."""

LOOSE_TOLERANCE_S = 0.5
"""The same within a part of another rate, between whose packets FFmpeg counts on by the rate of the first part."""

MOST_HOLES_S = 3600.0
"""Holes may take up as much time as the audio before them and this. A jump ahead beyond it is a clock gone wild."""

RESET_S = 10.0
"""A jump back further than this is no overlap but a clock that starts again; what follows is contiguous."""


class SampleClock:
    """Timestamps as sample positions: exact, halves up.

    Args:
        time_base: seconds per tick.
        zero: time zero of the file, in seconds.
        sample_rate: of the audio.
    """

    def __init__(self, time_base: Fraction, zero: Fraction, sample_rate: int) -> None:
        slope = time_base * sample_rate
        offset = Fraction(1, 2) - zero * sample_rate
        self._divisor = math.lcm(slope.denominator, offset.denominator)
        self._slope = int(slope * self._divisor)
        self._offset = int(offset * self._divisor)

    def position(self, timestamp: int) -> int:
        """The sample at a timestamp."""
        return (timestamp * self._slope + self._offset) // self._divisor


class Timeline:
    """Places blocks of samples by their timestamps.

    Args:
        sample_rate: of the audio.
        limit: the last believable position, in samples. A timestamp beyond it is ignored.
        counted: timestamps only count what was read, as in files without a header. They matter after a loss alone.

    Attributes:
        position: samples placed so far.
        holes: samples of silence that had to be put in the middle.
        jumps: timestamps ignored because the clock of the file started again or went wild.
    """

    def __init__(self, sample_rate: int, limit: int, counted: bool = False) -> None:
        self.position = 0
        self.holes = 0
        self.jumps = 0
        self._sample_rate = sample_rate
        self._limit = limit
        self._counted = counted
        self._shift = 0
        self._stamped = False
        self._lost = False

    def place(
        self, start: int | None, n_samples: int, lost: bool = False, follows: bool = False, loose: bool = False
    ) -> tuple[int, int]:
        """Says what to do with a block before appending it.

        Args:
            start: the position its timestamp says; None if it has none, which amid blocks that have one is a sign
                of damage.
            n_samples: its length.
            lost: something before it could not be decoded.
            follows: it begins another recording, and follows the one before whatever its timestamp.
            loose: its timestamp is right within `LOOSE_TOLERANCE_S` alone.

        Returns:
            (samples of silence to write first, samples to drop from its start).
        """
        self._lost = self._lost or lost
        if start is None:
            silence, drop = 0, 0
            self._lost = self._lost or self._stamped
        elif follows and self.position:
            self._shift = self.position - start
            silence, drop, self._lost = 0, 0, False
        else:
            silence, drop = self._fit(start + self._shift - self.position, n_samples, loose)
            self._stamped = True
            self._lost = 0 < n_samples == drop
        if self.position:
            self.holes += silence
        self.position += silence + n_samples - drop
        return silence, drop

    def _fit(self, drift: int, n_samples: int, loose: bool) -> tuple[int, int]:
        tolerance_s = 0.0 if self.position == 0 else LOST_TOLERANCE_S if self._lost else TOLERANCE_S
        tolerance_s = LOOSE_TOLERANCE_S if loose else tolerance_s
        if abs(drift) <= tolerance_s * self._sample_rate:
            return 0, 0
        if self._counted and not self._lost:
            self._shift -= drift
            return 0, 0
        starts_again = self.position > 0 and drift < -RESET_S * self._sample_rate
        most_holes = MOST_HOLES_S * self._sample_rate + self.position - self.holes
        gone_wild = self.holes + drift > most_holes or self.position + drift > self._limit
        if starts_again or gone_wild:
            self._shift -= drift
            self.jumps += 1
            return 0, 0
        return max(drift, 0), min(max(-drift, 0), n_samples)
