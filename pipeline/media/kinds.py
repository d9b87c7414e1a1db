"""Kinds of media that older versions read wrongly: they alone have recipes and row keys of their own.

Whoever changes what is read of one kind of media adds the kind here, or raises its version, and all other media keep
their rows. A kind is found out from headers and packets, never by decoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.media.clock import Clock
from pipeline.media.decoding import packets
from pipeline.media.errors import MediaError
from pipeline.media.length import is_joined_mp3
from pipeline.media.opening import best_audio, open_media, time_zero
from pipeline.media.pcm import FULL_SCALE

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
