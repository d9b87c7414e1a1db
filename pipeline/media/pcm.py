"""Samples as numbers: from decoded frames to floats, to one channel, to the integers a FLAC file holds."""

from __future__ import annotations

from typing import Literal

import av
import numpy as np

INTEGER_SCALES = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


def frame_samples(frame: av.AudioFrame) -> np.ndarray:
    """The samples of a frame as floats (n, channels), full scale 1.

    float32 where that holds them exactly, else float64. What is not a number becomes silence.
    """
    name = frame.format.packed.name
    values = frame.to_ndarray()
    channels = len(frame.layout.channels)
    block = values.T if frame.format.is_planar else values.reshape(-1, channels)
    if name not in INTEGER_SCALES:
        return block if np.isfinite(block).all() else np.nan_to_num(block, nan=0.0, posinf=1.0, neginf=-1.0)
    wide = block.astype(np.float32 if name in ("u8", "s16") else np.float64)
    if name == "u8":
        wide -= 128
    return wide / wide.dtype.type(INTEGER_SCALES[name])


def mix_to_mono(samples: np.ndarray) -> np.ndarray:
    """The mean of the channels, (n, 1)."""
    return samples if samples.shape[1] == 1 else samples.mean(axis=1, keepdims=True, dtype=np.float64)


def quantise(samples: np.ndarray, bits: Literal[16, 24]) -> np.ndarray:
    """Floats as integers of so many bits: x * 2^(bits - 1), halves to even, clipped. No dither.

    Returns:
        int16 for 16 bits; int32 with the 24 bits in the upper three bytes for 24, as libsndfile takes them.
    """
    scale = 2 ** (bits - 1)
    if bits == 24:
        samples = samples.astype(np.float64)
    whole = np.clip(np.rint(samples * samples.dtype.type(scale)), -scale, scale - 1)
    return whole.astype(np.int16) if bits == 16 else whole.astype(np.int32) << 8
