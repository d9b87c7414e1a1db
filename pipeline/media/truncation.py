"""Whether a file was cut short: what its headers promise against what it holds."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.media.clock import Clock
from pipeline.media.length import has_guessed_length
from pipeline.media.opening import boxes, timed_streams

SHORTFALL_S = 0.15
"""Sound that ends this much before the promised end is missing some; codecs pad by less."""

STREAMED_RIFF = 0x7FFFF000
"""Programs that write WAV into a pipe claim at least this many bytes."""


def shortfall(container: InputContainer, stream: AudioStream, path: Path, decoded_s: Fraction, clock: Clock) -> str:
    """Says how much sound is missing at the end of the file; empty where none is."""
    if clock.parts > 1:  # headers speak of the first part, or of nothing
        return ""
    promised_s = _promised(container, stream, path, clock)
    if promised_s is None or decoded_s >= promised_s - SHORTFALL_S:
        promised_s = decoded_s * _riff_part(path)
        if decoded_s >= promised_s - SHORTFALL_S:
            return ""
    return f"truncated: {float(decoded_s):.1f} s of {float(promised_s):.1f} s decoded"


def recordings(path: Path) -> int:
    """How many mp4, WAV, AVI or AIFF files are joined by bytes in a file, by their outermost boxes or chunks."""
    with open(path, "rb") as file:
        head = file.read(12)
        if head[4:8] == b"ftyp":
            return boxes(path).count(b"moov")
        count, position = 0, 0
        order: Literal["big", "little"] = "big" if head[:4] == b"FORM" else "little"
        while head[:4] in (b"RIFF", b"FORM") and head[8:12] in (b"WAVE", b"AVI ", b"AIFF", b"AIFC"):
            count += 1
            position += 8 + int.from_bytes(head[4:8], order)
            file.seek(position)
            head = file.read(12)
        return count


def _promised(container: InputContainer, stream: AudioStream, path: Path, clock: Clock) -> Fraction | None:
    """Where the sound ends, in seconds from time zero, according to the headers; None if they do not say."""
    if container.duration is None or has_guessed_length(container, path):
        return None
    if stream.duration is not None:
        end = ((stream.start_time or 0) + stream.duration) * Fraction(stream.time_base or 0)
        return end - clock.zero
    tagged = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tagged:
        hours, minutes, seconds = (Fraction(part) for part in tagged.groups())
        return hours * 3600 + minutes * 60 + seconds - clock.zero
    whole = Fraction(container.duration, av.time_base)
    if len(timed_streams(container)) == 1 or clock.end < whole - clock.zero - SHORTFALL_S:
        return whole
    return None


def _riff_part(path: Path) -> Fraction:
    """By what factor a WAV or AVI file is shorter than it says, where FFmpeg took the length of what is there."""
    with open(path, "rb") as file:
        head = file.read(8)
    claimed = int.from_bytes(head[4:8], "little") + 8
    size = path.stat().st_size
    if head[:4] != b"RIFF" or not size < claimed < STREAMED_RIFF:
        return Fraction(1)
    return Fraction(claimed, size)
