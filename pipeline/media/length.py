"""How long a media file is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.media.decoding import packets
from pipeline.media.opening import open_media, time_zero, timed_streams

WITHOUT_HEADER = frozenset({"aac", "ac3", "eac3", "dts", "dtshd", "truehd", "loas", "mp3", "h264", "hevc", "m4v"})
"""Formats whose timestamps are counted while reading, and whose length FFmpeg guesses from the bit rate."""


def duration(container: InputContainer, path: Path) -> Fraction:
    """Seconds from time zero to the end of the last stream, by the headers or else by counting packets."""
    if container.duration is not None and not has_guessed_length(container, path):
        return max(_header_duration(container), Fraction(0))
    return packets_duration(path)


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
    """Whether FFmpeg computed the length from the bit rate because no header tells it."""
    if container.format.name != "mp3":
        return container.format.name in WITHOUT_HEADER
    with open(path, "rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            tag_size = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(head[6:10])))
            file.seek(10 + tag_size)
        start = head + file.read(4096)
    return not any(mark in start for mark in (b"Xing", b"Info", b"VBRI"))


def packets_duration(path: Path) -> Fraction:
    """Seconds from time zero to the end of the last packet, read without decoding."""
    with open_media(path) as container:
        zero = time_zero(container)
        streams = timed_streams(container)
        ends = {stream.index: zero for stream in streams}
        for packet, _ in packets(container, streams) if streams else ():
            if packet is not None and packet.size:
                index = packet.stream_index
                ends[index] = max(ends[index], _packet_end(packet, ends[index]))
        return max(ends.values(), default=zero) - zero


def _packet_end(packet: av.Packet, previous: Fraction) -> Fraction:
    time_base = Fraction(packet.time_base)
    length = Fraction(packet.duration or 0) * time_base
    if not length and isinstance(packet.stream, VideoStream):
        rate = packet.stream.average_rate or packet.stream.guessed_rate
        length = 1 / Fraction(rate) if rate else Fraction(0)
    stamp = packet.pts if packet.pts is not None else packet.dts
    return (stamp * time_base if stamp is not None else previous) + length
