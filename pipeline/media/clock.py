"""What the packets of a file say of its time, read once and without decoding: first and last second, and joined parts.

A file may be several recordings put one after another: chained Ogg, MPEG-TS parts joined by bytes, HLS segments across
a discontinuity. Their timestamps then start again, or jump far ahead, on the way. Each such jump begins a new *part*
that is placed after the end of what came before. The shift of a part is the same for all streams of the file, so that
audio and frames keep together; `Clock.shifted` applies it to packets before they are decoded, and nothing behind the
decoder knows of parts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from pipeline.media.opening import open_media, time_zero, timed_streams
from pipeline.monitor.signals import check

REORDERED = 32
"""No codec shows a frame this many packets earlier or later than its place in the file."""

TS_DISCONT = 0x0200
"""FFmpeg's mark of formats whose timestamps may jump (MPEG-TS, MPEG-PS, Ogg, ...): AVFMT_TS_DISCONT."""

AHEAD_S = 10
"""In those formats a jump ahead by more begins a new part, as FFmpeg's dts_delta_threshold has it."""

FAR_AHEAD_S = 3600
"""In all others a jump ahead by more than this and what came before; less is a hole in the recording."""

OVERLAP_S = 1.5
"""A jump back by more begins a new part. A shorter one does if it leads to where the part before it began."""

NEAR_S = 0.5
"""A timestamp this close to the first of a part is where that part began: streams do not start at the same moment."""

JITTER_S = 0.1
"""A shorter jump back is rounding, or the delay of a codec."""

MEETING_S = 2.0
"""How far apart streams may be that follow the same jump."""

UNSTAMPED = 2 * REORDERED
"""Where so many packets without any timestamp come before the first that has one, the clock begins with that one."""

MOST_RUNS = 100_000
"""Jumps of a stream that are followed; there are more in noise alone."""


@dataclass(frozen=True)
class Clock:
    """Time in a file.

    Attributes:
        zero: the timestamp, in seconds, that is second 0.
        end: where the last packet ends, in seconds after `zero`.
        tolerance: how far the headers of this file may be from its packets, in seconds; see `tolerance_of`.
        parts: how many recordings the file is.
        read_to: where in the file the last packet ends, in bytes; 0 if that is unknown.
        shifts: by stream index, ticks to add to the timestamps of each run of packets; empty if there is one part.
        longest: steps between decoding times, by stream index in ticks, that do not begin a run.
    """

    zero: Fraction
    end: Fraction
    tolerance: Fraction
    parts: int = 1
    read_to: int = 0
    shifts: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    longest: Mapping[int, int] = field(default_factory=dict)

    def shifter(self, stream_index: int) -> Shifter | None:
        """What moves the packets of a stream onto this clock, read from the start of the file; None: they are on it."""
        if self.parts == 1 or stream_index not in self.shifts:
            return None
        return Shifter(self.shifts[stream_index], self.longest[stream_index])


class Shifter:
    """Moves the packets of one stream, in the order of the file.

    Args:
        shifts: ticks to add to the timestamps of each run.
        longest: the longest step within a run, in ticks.

    Attributes:
        jumped: whether the packet seen last is the first of a part.
        fresh: set by who decodes when frames of a new part come; cleared by who has noticed.
    """

    def __init__(self, shifts: tuple[int, ...], longest: int) -> None:
        self._shifts, self._longest = shifts, longest
        self._run = self._unstamped = 0
        self._last: int | None = None
        self.jumped = self.fresh = False

    def __call__(self, packet: av.Packet) -> None:
        """Changes the timestamps of a packet."""
        stamp = _order(packet)
        self.jumped = False
        if stamp is None and packet.pts is None:
            self._unstamped += 1
        elif stamp is not None:
            if _has_jumped(self._last, stamp, self._longest, self._unstamped):
                before = self._run
                self._run = min(self._run + 1, len(self._shifts) - 1)
                self.jumped = self._shifts[self._run] != self._shifts[before]
            self._last = stamp
        pts, dts, shift = packet.pts, packet.dts, self._shifts[self._run]
        ahead = pts is not None and dts is not None and pts - dts > self._longest
        if shift or ahead:  # frames that are decoded before the jump may be shown after it
            after = self._shifts[min(self._run + 1, len(self._shifts) - 1)] if ahead else shift
            packet.pts = None if pts is None else pts + after
            packet.dts = None if dts is None else dts + shift


def read_clock(path: Path) -> Clock:
    """Reads all packets of a file that can be read.

    Raises:
        MediaError: it is missing, unreadable, empty or no media file.
    """
    with open_media(path) as container:
        return clock_of(container)


def quick_clock(container: InputContainer, path: Path, kind: str | None) -> Clock:
    """The clock of a file for readers of few frames, who do without its packets, and its end, where they can.

    Args:
        container: the file, opened; it is not read.
        path: of the file.
        kind: of `pipeline.media.length`; empty if headers are right about time zero and there is one part. None if
            nobody knows: then headers are believed unless the format is one in which timestamps may jump.

    Raises:
        MediaError: it cannot be read.
    """
    if kind == "" or (kind is None and not container.format.flags & TS_DISCONT):
        return Clock(time_zero(container), Fraction(0), tolerance_of(Fraction(0)))
    return read_clock(path)


def clock_of(container: InputContainer) -> Clock:
    """The same for a file that has just been opened; it stands at its end thereafter."""
    streams = [stream for stream in timed_streams(container) if stream.time_base]
    zero = time_zero(container)
    runs, longest = _runs(container, streams)
    runs = [run for run in runs if run.first is not None]
    if not runs:
        return Clock(zero, Fraction(0), tolerance_of(Fraction(0)))
    parts = _parts(runs)
    first = min(run.first_s for run in runs if run.part == 0)
    tolerance = tolerance_of(max(run.packet_s for run in runs))
    zero = zero if abs(zero - first) <= tolerance else first
    read_to = max(run.read_to for run in runs)
    if parts == 1:
        return Clock(zero, max(run.end_s for run in runs) - zero, tolerance, read_to=read_to)
    offsets, end = [Fraction(0)], max(run.end_s for run in runs if run.part == 0)
    for part in range(1, parts):
        members = [run for run in runs if run.part == part]
        offsets.append(end - min(run.first_s for run in members))
        end = max(end, max(run.end_s + offsets[part] for run in members))
    shifts: dict[int, list[int]] = {}
    for run in runs:
        shifts.setdefault(run.stream.index, []).append(round(offsets[run.part] / run.tick))
    return Clock(
        zero, end - zero, tolerance, parts, read_to, {index: tuple(one) for index, one in shifts.items()}, longest
    )


class _Run:
    """Packets of a stream that follow each other without a jump.

    Attributes:
        stream: whose.
        tick: seconds.
        begins_at: where in the file its first packet lies, in bytes; 0 if that is unknown.
        heard: the decoding times reached by all streams at its begin, by stream index.
        head: its first packets.
        tail: its last packets.
        part: to which it belongs.
        jump: seconds from the end of the run before it to its begin.
        first: the earliest timestamp, in ticks; None if there is none.
        packet_s: how long its packets of audio are, in seconds.
        read_to: where in the file the last of its packets ends, in bytes.
        unstamped: how many have no timestamp at all.
        unstamped_s: how long those are together, in seconds.
    """

    def __init__(self, packet: av.Packet, heard: list[int | None]) -> None:
        stream = packet.stream
        self.stream, self.heard, self.begins_at = stream, list(heard), packet.pos or 0
        self.tick = Fraction(stream.time_base or 1)
        self.head: list[av.Packet] = []
        self.tail: deque[av.Packet] = deque(maxlen=REORDERED)
        self.part = 0
        self.jump = Fraction(0)
        self.first: int | None = None
        self.packet_s = Fraction(0)
        self.unstamped = 0
        self.unstamped_s = Fraction(0)
        self.read_to = 0
        self._end: Fraction | None = None

    @property
    def first_s(self) -> Fraction:
        """The earliest timestamp, in seconds."""
        return (self.first or 0) * self.tick

    @property
    def end_s(self) -> Fraction:
        """Where the last of its packets ends, in seconds."""
        return self.first_s if self._end is None else self._end

    def close(self, before_jump: bool = False) -> None:
        """Works out the times, and lets go of the packets.

        Args:
            before_jump: another run follows. In Ogg its first packet has no timestamp of its own and counts as the last
                of this one; what its decoder is going to skip does not count.
        """
        packets = [*self.head, *self.tail]
        skipped = _skipped(packets[-1]) if before_jump and len(packets) > 1 else 0
        lasts = _length_before_jump if before_jump else length_of
        self.read_to = max(((one.pos or 0) + one.size for one in packets), default=0)
        shown = [one for one in packets if not one.is_discard] or packets
        first = [one for one in self.head if not one.is_discard] or self.head
        stamps = [one.pts for one in first if one.pts is not None] or [one.dts for one in first if one.dts is not None]
        self.first = min(stamps, default=None)
        if self.stream.type == "audio":
            self._end = max((stamp * self.tick + lasts(one) for stamp, one in self._latest(shown)), default=None)
            if skipped and self._end is not None and self.stream.codec_context:
                self._end -= Fraction(skipped, self.stream.codec_context.sample_rate)
            self.packet_s = max(map(lasts, {_duration(one): one for one in packets}.values()), default=Fraction(0))
        else:  # what is written of a frame's length is of the order of decoding, so that the last one's is the last
            length = lasts(shown[-1])
            self._end = max((stamp * self.tick + length for stamp, _ in self._latest(shown)), default=None)
        if self.first is None and self.unstamped:
            self.first = 0
            self._end = self.unstamped_s
        self.head, self.tail = [], deque()

    def _latest(self, packets: Sequence[av.Packet]) -> Iterable[tuple[int, av.Packet]]:
        """The last packet of each duration and its timestamp in ticks; fractions of every packet would cost more than
        reading it.
        """
        found: dict[tuple[int, ...], tuple[int, av.Packet]] = {}
        for packet in packets:
            order, duration = packet.dts, _duration(packet)
            stamp = order if packet.pts is None else packet.pts
            if stamp != order and None not in (stamp, order) and abs(stamp - order) * self.tick > FAR_AHEAD_S:
                stamp = order  # a timestamp gone wild; the order of decoding is right
            if stamp is not None and (duration not in found or stamp > found[duration][0]):
                found[duration] = stamp, packet
        return found.values()


def _duration(packet: av.Packet) -> tuple[int, ...]:
    """What `length_of` works out the seconds of a packet of audio from."""
    return packet.duration or 0, packet.time_base.numerator, packet.time_base.denominator


def _skipped(packet: av.Packet) -> int:
    """Samples that a decoder leaves out at the start of what a packet holds."""
    if not packet.has_sidedata("skip_samples"):
        return 0
    return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")


def length_of(packet: av.Packet) -> Fraction:
    """Seconds that a packet lasts."""
    length = (packet.duration or 0) * Fraction(packet.time_base)
    if not length and isinstance(packet.stream, VideoStream):
        rate = packet.stream.average_rate or packet.stream.guessed_rate
        return 1 / Fraction(rate) if rate else Fraction(0)
    return length


def _length_before_jump(packet: av.Packet) -> Fraction:
    """The same where the next may be one after a jump: in mp4 each packet lasts until the next."""
    length = length_of(packet)
    return length if length <= FAR_AHEAD_S else Fraction(0)


def tolerance_of(packet_s: Fraction) -> Fraction:
    """How far headers and packets of audio of this length may be apart, in seconds, for a codec's delay and padding."""
    return min(max(Fraction(1, 10), 3 * packet_s), Fraction(2, 5))


def _has_jumped(before: int | None, stamp: int, longest: int, unstamped: int) -> bool:
    """Whether a run begins with a packet.

    Args:
        before: the timestamp before it in the same stream; None if it is the first that has one.
        stamp: of the packet, in ticks.
        longest: the longest step within a run, in ticks.
        unstamped: how many packets of the run have no timestamp at all, as FFmpeg reads Matroska from before time 0.
    """
    if before is None:
        return unstamped >= UNSTAMPED
    return not 0 <= stamp - before <= longest


def _order(packet: av.Packet) -> int | None:
    """The timestamp that grows from packet to packet, in ticks."""
    if packet.dts is None and packet.stream.type == "audio":
        return packet.pts
    return packet.dts


def _runs(container: InputContainer, streams: list[Stream]) -> tuple[list[_Run], dict[int, int]]:
    """The runs of all streams in the order of their begins, and the longest step within one, by stream index."""
    ahead_s = AHEAD_S if container.format.flags & TS_DISCONT else FAR_AHEAD_S
    longest = {stream.index: int(ahead_s / Fraction(stream.time_base or 1)) for stream in streams}
    size = max(longest, default=-1) + 1
    last: list[int | None] = [None] * size
    most = [-1] * size  # sends the first packets of a run, whose times may not be in order, the long way
    tails: list[deque[av.Packet]] = [deque(maxlen=REORDERED) for _ in range(size)]
    current: dict[int, _Run] = {}
    found: list[_Run] = []

    def long_way(packet: av.Packet) -> None:
        index = packet.stream_index
        if not packet.size:
            return
        stamp, before = _order(packet), last[index]
        run = current.get(index)
        jumped = stamp is not None and _has_jumped(before, stamp, longest[index], run.unstamped if run else 0)
        if run is None or (jumped and len(found) < MOST_RUNS):
            later = _Run(packet, last)
            if run is not None:
                run.close(before_jump=True)
                later.jump = (stamp or 0) * later.tick - run.end_s
            run = current[index] = later
            found.append(run)
            tails[index], most[index] = run.tail, -1
        if stamp is not None:
            last[index] = stamp
        elif packet.pts is None:
            run.unstamped += 1
            run.unstamped_s += length_of(packet)
        if packet.is_discard and run.head and run.head[-1].is_discard:
            return  # what an edit list leaves out at the start may be longer than any head
        if len(run.head) < REORDERED:
            run.head.append(packet)
        else:
            most[index] = longest[index]
            run.tail.append(packet)

    source = container.demux(streams) if streams else iter(())
    more = True
    while more:
        check()
        more = False
        try:
            for packet in islice(source, 4096):
                more = True
                index = packet.stream_index
                stamp, before = packet.dts, last[index]
                if stamp is not None and before is not None and 0 <= stamp - before <= most[index]:
                    last[index] = stamp
                    tails[index].append(packet)
                else:
                    long_way(packet)
        except (av.error.FFmpegError, IndexError):  # what can be read ends here; see `decoding.packets`
            break
    for run in current.values():
        run.close()
    return found, longest


def _parts(runs: list[_Run]) -> int:
    """Says of each run to which part it belongs; how many parts there are."""
    parts: list[list[_Run]] = [[]]
    latest: dict[int, _Run] = {}
    for number, run in enumerate(runs):
        before = latest.get(run.stream.index)
        if before is None:
            run.part = next((n for n in reversed(range(len(parts))) if _meets(run, parts[n])), len(parts) - 1)
            if any(_is_over(one, run) for one in latest.values()):
                run.part = len(parts)
                parts.append([])
        else:
            run.part = before.part
            if abs(run.jump) > JITTER_S:
                later = [
                    n
                    for n in range(before.part + 1, len(parts))
                    if _meets(run, parts[n]) and not _is_over(parts[n][-1], run)
                ]
                begun = [n for n in later if parts[n][0].begins_at <= run.begins_at]
                run.part = begun[-1] if begun else later[0] if later else before.part
                if run.part == before.part and _begins_part(
                    run, parts[before.part], latest, {one.stream.index for one in runs[number + 1 :]}
                ):
                    run.part = len(parts)
                    parts.append([])
        parts[run.part].append(run)
        latest[run.stream.index] = run
    return len(parts)


def _meets(run: _Run, part: list[_Run]) -> bool:
    """Whether a run lies where the other streams of a part are."""
    others = [one for one in part if one.stream is not run.stream]
    if not others:
        return False
    low, high = min(one.first_s for one in others), max(one.end_s for one in others)
    return low - MEETING_S <= run.first_s <= high + MEETING_S


def _is_over(before: _Run, run: _Run) -> bool:
    """Whether a run ended in the file, and well past its time, before one of another stream begins.

    Formats in which timestamps may jump are interleaved; others may have all audio after all frames.
    """
    stamp = run.heard[before.stream.index]
    if before.stream is run.stream or stamp is None or not run.stream.container.format.flags & TS_DISCONT:
        return False
    return 0 < before.read_to <= run.begins_at and stamp * before.tick > run.first_s + MEETING_S


def _begins_part(run: _Run, part: list[_Run], latest: Mapping[int, _Run], jumping: Set[int]) -> bool:
    """Whether the jump before a run is one of the whole file, and no overlap.

    Args:
        run: after the jump.
        part: the runs of the part before.
        latest: the last run of each stream before it.
        jumping: streams that jump later.
    """
    if -OVERLAP_S <= run.jump < 0 and run.first_s > min(one.first_s for one in part) + NEAR_S:
        return False
    for index, other in latest.items():
        stamp = run.heard[index]
        if index == run.stream.index or stamp is None:
            continue
        reached_s = stamp * other.tick
        if index not in jumping and run.jump > 0:  # it may stand in the file before the jump, but goes on all the same
            reached_s = min(reached_s, latest[run.stream.index].end_s)
        if other.end_s - reached_s > MEETING_S:
            return False
    return True
