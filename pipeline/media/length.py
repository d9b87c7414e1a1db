"""How long a media file is: what its headers say where its packets agree, else what its packets say."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from pipeline.media.clock import Clock
from pipeline.media.opening import id3_bytes, time_zero, timed_streams

WITHOUT_HEADER = frozenset({"aac", "ac3", "eac3", "dts", "dtshd", "truehd", "loas", "mp3", "h264", "hevc", "m4v"})
"""Formats whose timestamps are counted while reading, and whose length FFmpeg guesses from the bit rate."""

XING_FRAMES = 5
"""A length that differs by more from the number of frames in an MP3 file's own header is FFmpeg's guess."""


def duration(container: InputContainer, path: Path, clock: Clock) -> Fraction:
    """Seconds from time zero to the end of the last stream.

    The headers' length stands, to the last digit, where the packets agree with it within `Clock.tolerance`: they count
    the padding of codecs, which headers leave out. Where they do not agree, the packets are right.

    Args:
        container: the file, opened.
        path: of the file.
        clock: what its packets say.
    """
    if container.duration is None or clock.parts > 1 or has_guessed_length(container, path):
        return clock.end
    whole = Fraction(container.duration, av.time_base)
    for told in (_header_duration(container), whole - clock.zero):  # Matroska counts from 0, not from its start
        if abs(told - clock.end) <= clock.tolerance:
            return max(told, Fraction(0))
    return clock.end


def _header_duration(container: InputContainer) -> Fraction:
    streams = timed_streams(container)
    zero = time_zero(container)
    ends = [
        (stream.start_time or 0) * stream.time_base + stream.duration * stream.time_base - zero
        for stream in streams
        if stream.duration is not None and stream.time_base
    ]
    if streams and len(ends) == len(streams):
        return max(ends)
    return Fraction(container.duration or 0, av.time_base)


def has_guessed_length(container: InputContainer, path: Path) -> bool:
    """Whether FFmpeg computed the length from the bit rate because no header tells it, or it does not believe it."""
    if container.format.name != "mp3":
        return container.format.name in WITHOUT_HEADER
    start = _mp3_start(path)
    return not any(mark in start for mark in (b"Xing", b"Info", b"VBRI")) or _is_disbelieved(container, start)


def is_joined_mp3(container: InputContainer, path: Path) -> bool:
    """Whether an MP3 file goes on after what its header tells, so that FFmpeg does not believe the header."""
    return container.format.name == "mp3" and _is_disbelieved(container, _mp3_start(path))


def _is_disbelieved(container: InputContainer, start: bytes) -> bool:
    """Whether the length is another than the number of frames in an MP3 header says."""
    found = max(start.find(mark) for mark in (b"Xing", b"Info"))
    if found < 0 or len(start) < found + 12 or not start[found + 7] & 1 or not container.streams.audio:
        return False
    rate = container.streams.audio[0].rate
    frames = int.from_bytes(start[found + 8 : found + 12], "big")
    frame_s = Fraction(1152 if rate >= 32000 else 576, rate)
    return abs(Fraction(container.duration or 0, av.time_base) - frames * frame_s) > XING_FRAMES * frame_s


def _mp3_start(path: Path) -> bytes:
    """The first bytes of an MP3 file and, after its ID3 tag, of its frames."""
    with open(path, "rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            file.seek(10 + id3_bytes(head))
        return head + file.read(4096)
