"""How long a media file is, whether it was cut short, and the kinds that older versions read wrongly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.media.clock import Clock
from pipeline.media.containers import MediaError
from pipeline.media.decoding import packets
from pipeline.media.flac import FULL_SCALE
from pipeline.media.opening import best_audio, boxes, id3_bytes, open_media, time_zero, timed_streams

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
    for length in (_header_duration(container), whole - clock.zero):  # Matroska counts from 0, not from its start
        if abs(length - clock.end) <= clock.tolerance:
            return max(length, Fraction(0))
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


SHORTFALL_S = 0.15
"""Audio that ends this much before the promised end is missing some; codecs pad by less."""

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
"""With it begins a WMA or WMV file."""

ASF_OBJECTS = 1000
"""Outermost objects of such a file that are looked at; there are hardly more than ten."""

STREAMED_RIFF = 0x7FFFF000
"""Programs that write WAV into a pipe claim at least this many bytes."""


def shortfall(container: InputContainer, stream: AudioStream, path: Path, decoded_s: Fraction, clock: Clock) -> str:
    """Says how much audio is missing at the end of the file; empty where none is."""
    if clock.parts > 1:  # headers speak of the first part, or of nothing
        return ""
    promised_s = _promised(container, stream, path, clock)
    if promised_s is None or decoded_s >= promised_s - SHORTFALL_S:
        promised_s = decoded_s * _riff_part(path)
        if decoded_s >= promised_s - SHORTFALL_S:
            return ""
    return f"truncated: {float(decoded_s):.1f} s of {float(promised_s):.1f} s decoded"


def recordings(path: Path) -> int:
    """How many mp4, WAV, AVI, AIFF or WMV files are joined by bytes in a file, by their outermost boxes or chunks."""
    with open(path, "rb") as file:
        head = file.read(12)
        if head[4:8] == b"ftyp":
            return boxes(path).count(b"moov")
        count, position = 0, 0
        if head == ASF[:12]:
            whole = path.stat().st_size
            for _ in range(ASF_OBJECTS):
                file.seek(position)
                head = file.read(24)
                count += head[:16] == ASF
                position += max(int.from_bytes(head[16:], "little"), 24)
                if position >= whole:
                    break
            return count
        order: Literal["big", "little"] = "big" if head[:4] == b"FORM" else "little"
        while head[:4] in (b"RIFF", b"FORM") and head[8:12] in (b"WAVE", b"AVI ", b"AIFF", b"AIFC"):
            count += 1
            position += 8 + int.from_bytes(head[4:8], order)
            file.seek(position)
            head = file.read(12)
        return count


def _promised(container: InputContainer, stream: AudioStream, path: Path, clock: Clock) -> Fraction | None:
    """Where the audio ends, in seconds from time zero, according to the headers; None if they do not say."""
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


JOINED = "joined"
"""Several recordings one after another: timestamps start again, or jump, on the way (see `pipeline.media.clock`), or an
MP3 file goes on after the length in its header."""

SHIFTED = "shifted"
"""The headers name another first second than the packets."""

BEYOND = "beyond"
"""PCM of floats with samples beyond full scale among the first `LOOKED_AT` bytes."""

VERSIONS: dict[str, tuple[int, frozenset[Literal["audio", "video"]]]] = {
    JOINED: (1, frozenset({"audio", "video"})),
    SHIFTED: (1, frozenset({"audio", "video"})),
    BEYOND: (1, frozenset({"audio"})),
}
"""Version of each kind, and of which modalities it changes the values."""

FLOAT_PCM = {"pcm_f32le": "<f4", "pcm_f32be": ">f4", "pcm_f64le": "<f8", "pcm_f64be": ">f8"}
TOGETHER = 1 << 18
"""Bytes of PCM that are looked at together."""

LOOKED_AT = 1 << 26
"""Bytes of PCM that are looked at, six minutes at 48 kHz: looking costs more than reading packets. What is clipped is
counted to the end when audio is extracted, which is the same with and without this kind but for its message."""


def kind_of(container: InputContainer, path: Path, clock: Clock) -> str:
    """The kinds of a file, joined by `+`; empty for all that have always been read rightly.

    Args:
        container: the file, opened.
        path: of the file.
        clock: what its packets say.
    """
    kinds = [JOINED] if clock.parts > 1 or is_joined_mp3(container, path) else []
    if clock.zero != time_zero(container):
        kinds.append(SHIFTED)
    if _beyond_full_scale(path, container):
        kinds.append(BEYOND)
    return "+".join(kinds)


def rendition(kind: str, modality: Literal["audio", "video"]) -> str:
    """What the kind of a medium adds to recipes and row keys of a modality; empty for most media."""
    names = (name for name in kind.split("+") if name in VERSIONS and modality in VERSIONS[name][1])
    return "+".join(f"{name}-{VERSIONS[name][0]}" for name in names)


def renditions(kinds: Mapping[str, str], modality: Literal["audio", "video"]) -> dict[str, str]:
    """`rendition` of media by digest; those to whose values the kind of the medium makes no difference are left out."""
    found = {digest: rendition(kind, modality) for digest, kind in kinds.items()}
    return {digest: one for digest, one in found.items() if one}


def _beyond_full_scale(path: Path, container: InputContainer) -> bool:
    """Whether the raw floats of a file have values that full scale clips; other codecs would have to be decoded."""
    try:
        codec = best_audio(container).codec_context.codec.canonical_name
    except MediaError:
        return False
    if codec not in FLOAT_PCM:
        return False
    dtype = np.dtype(FLOAT_PCM[codec])
    with open_media(path) as opened:
        return any(
            np.fmax.reduce(values, initial=0.0) > FULL_SCALE or np.fmin.reduce(values, initial=0.0) < -FULL_SCALE
            for values in islice(_raw(opened, best_audio(opened), dtype), LOOKED_AT // TOGETHER)
        )


def _raw(container: InputContainer, stream: AudioStream, dtype: np.dtype) -> Iterator[np.ndarray]:
    """The values of packets of PCM, block by block."""
    pending: list[bytes] = []
    size = 0
    for packet, _ in packets(container, [stream]):
        if packet is not None and packet.size:
            pending.append(bytes(packet))
            size += packet.size
        if packet is None or size >= TOGETHER:
            yield _values(pending, dtype)
            pending, size = [], 0
    yield _values(pending, dtype)


def _values(pending: list[bytes], dtype: np.dtype) -> np.ndarray:
    whole = b"".join(pending)
    return np.frombuffer(whole, dtype, len(whole) // dtype.itemsize)
