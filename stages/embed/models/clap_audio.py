"""What LAION-CLAP hears: 10 s of sound at 48 kHz, a crop of a longer one, or four views of it.

The `laion_clap` package computes the same in `training/data.py`, a module that asks the Hugging Face hub
for three tokenizers when it is imported, and draws its random chunks from numpy's global state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from stages.embed.models.log_mel import decibels

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]
"""Mono sound, one number per sample."""

Draw = Callable[[Sequence[int]], int]
"""Picks one of several positions; the reference picks each with the same probability."""

BLOCK_FRAMES = 2048
"""Frames transformed at once, so that memory does not grow with the clip."""


def seeded_draw(key: bytes, seed: int) -> Draw:
    """Draws that depend on a row's key and a seed alone, not on which rows came before it.

    `RandomState` is the generator of the reference and, unlike `default_rng`, gives the same numbers in every
    version of numpy.
    """
    words = np.frombuffer(blake2b(key + seed.to_bytes(8, "little", signed=True), digest_size=32).digest(), "<u4")
    generator = np.random.RandomState(words)
    return lambda positions: int(positions[generator.randint(len(positions))])


@dataclass(frozen=True)
class Views:
    """The network's input for one clip.

    Attributes:
        mel: (4, frames, bins), the whole clip squeezed into 10 s and three chunks of it; or
            (1, frames, bins) when all four are the same, or there is no fusion.
        longer: the clip has chunks of its own.
    """

    mel: Tensor
    longer: bool


@dataclass(frozen=True)
class MelScale:
    """Spectrogram settings.

    Models with fusion hear the HTK scale of torchaudio; those without hear Slaney's, of librosa.
    """

    sample_rate: int = 48000
    window_size: int = 1024
    hop_size: int = 480
    mel_bins: int = 64
    fmin: float = 50
    fmax: float = 14000
    slaney: bool = False

    def filters(self) -> Tensor:
        """(frequencies, bins) weights of the spectrum in each bin."""
        return torchaudio.functional.melscale_fbanks(
            self.window_size // 2 + 1,
            self.fmin,
            self.fmax,
            self.mel_bins,
            self.sample_rate,
            norm="slaney" if self.slaney else None,
            mel_scale="slaney" if self.slaney else "htk",
        )


def quantise_int16(waveform: Samples) -> Samples:
    """Clips to [-1, 1] and truncates to 16 bits, as the package does before it computes features."""
    integers = (np.clip(waveform, -1.0, 1.0) * 32767.0).astype(np.int16)
    return (integers / 32767.0).astype(np.float32)


def repeat_pad(waveform: Tensor, length: int) -> Tensor:
    """Repeats a clip as often as it fits whole, then pads with silence ("repeatpad")."""
    if len(waveform) == 0:
        raise ValueError("a clip needs at least one sample")
    repeated = waveform.repeat(length // len(waveform))
    return functional.pad(repeated, (0, length - len(repeated)))


def crop_view(waveform: Tensor, length: int, draw: Draw, scale: MelScale) -> Views:
    """Input of a model without fusion: a drawn crop of a longer clip, a shorter one repeated.

    Args:
        waveform: (samples,) mono.
        length: samples the model hears (480000).
        draw: called for the start of the crop of a longer clip.
        scale: spectrogram settings.
    """
    overflow = len(waveform) - length
    if overflow <= 0:
        return Views(log_mel(repeat_pad(waveform, length), scale)[None], longer=False)
    start = draw(range(overflow + 1))
    return Views(log_mel(waveform[start : start + length], scale)[None], longer=False)


def fusion_views(waveform: Tensor, length: int, draw: Draw, scale: MelScale, antialias: bool) -> Views:
    """Input of a model with fusion.

    Args:
        waveform: (samples,) mono.
        length: samples the model hears at once (480000).
        draw: called for the front, the middle and the back chunk of a longer clip, in this order.
        scale: spectrogram settings.
        antialias: smooth the squeezed view (torchvision from 0.17 on); the reference does not.
    """
    frames = length // scale.hop_size + 1
    if len(waveform) <= length:
        return Views(log_mel(repeat_pad(waveform, length), scale)[None], longer=False)
    mel = log_mel(waveform, scale)
    if len(mel) == frames:  # longer by less than a hop: nothing to choose from
        return Views(mel[None], longer=False)
    chunks = [mel[start : start + frames] for start in chunk_starts(len(mel), frames, draw)]
    size = (frames, scale.mel_bins)
    whole = functional.interpolate(mel[None, None], size, mode="bilinear", align_corners=False, antialias=antialias)
    return Views(torch.stack([whole[0, 0], *chunks]), longer=True)


def chunk_starts(total: int, frames: int, draw: Draw) -> list[int]:
    """One start in each third (front, middle, back) of the positions a chunk can start at."""
    thirds = np.array_split(np.arange(total - frames + 1), 3)
    return [draw(third.tolist() or [0]) for third in thirds]


def log_mel(waveform: Tensor, scale: MelScale) -> Tensor:
    """Decibels of a power mel spectrogram (Hann window, centred frames): (frames, bins)."""
    window, hop = scale.window_size, scale.hop_size
    half = window // 2
    padded = functional.pad(waveform[None], (half, half), mode="reflect")[0]
    hann, filters = _window_and_filters(scale)
    frames = padded.unfold(0, window, hop)
    return torch.cat([decibels(block, hann, filters) for block in frames.split(BLOCK_FRAMES)])


@lru_cache(maxsize=4)
def _window_and_filters(scale: MelScale) -> tuple[Tensor, Tensor]:
    return torch.hann_window(scale.window_size), scale.filters()
