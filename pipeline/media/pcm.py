"""Samples as numbers: from a decoder's to floats, to one channel, to the integers that a FLAC file holds."""

from __future__ import annotations

from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[Any]
"""(n, channels), of a decoder's type or float32 or float64."""

FULL_SCALE = 1 + 2**-15
"""Samples beyond it are clipped by more than rounding to 16 bits would."""

WITHOUT_ARRAY = {"s64": np.int64, "s64p": np.int64}
"""Sample formats that PyAV does not turn into arrays."""


def frame_values(frame: av.AudioFrame) -> Samples:
    """The samples of a frame as the decoder made them, (n, channels)."""
    values: Samples
    if dtype := WITHOUT_ARRAY.get(frame.format.name):
        each = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
        values = np.stack([np.frombuffer(plane, dtype, each) for plane in frame.planes])
    else:
        values = frame.to_ndarray()
    return values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)


def to_floats(values: Samples) -> Samples:
    """A decoder's samples with full scale 1: float32 where that is exact, else float64.

    What is not a number becomes silence.
    """
    if values.dtype.kind == "f":
        sound = np.isfinite(values.sum())  # false as well where finite ones are too many and too large
        return values if sound else np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=-1.0)
    floats: Samples = values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    if values.dtype == np.uint8:
        floats -= 128
    floats /= 2 ** (8 * values.dtype.itemsize - 1)
    return floats


def mix_to_mono(samples: Samples) -> Samples:
    """The mean of the channels, computed in float64: (n, 1)."""
    if samples.shape[1] == 1:
        return samples
    total = samples[:, :1].astype(np.float64)
    for channel in range(1, samples.shape[1]):  # by columns, which is several times faster than along short rows
        total += samples[:, channel : channel + 1]
    total /= samples.shape[1]
    return total


def quantise(samples: Samples, bits: Literal[16, 24]) -> Samples:
    """Floats as integers of so many bits: x * 2^(bits - 1), halves to even, clipped. No dither.

    Returns:
        int16 for 16 bits; int32 with the 24 bits in the upper three bytes for 24, as libsndfile takes them.
    """
    scale = 2 ** (bits - 1)
    scaled: Samples = (samples.astype(np.float64) if bits == 24 else samples) * samples.dtype.type(scale)
    np.clip(np.rint(scaled, out=scaled), -scale, scale - 1, out=scaled)
    return scaled.astype(np.int16) if bits == 16 else scaled.astype(np.int32) << 8
