"""The two networks of CLAP in the one form that every loader fills, and the audio network's input.

That is 10 s of audio at 48 kHz, a crop of a longer clip, or four views of it. The `laion_clap` package computes the
same in `training/data.py`, a module that asks the Hugging Face hub for three tokenizers when it is imported, and draws
its random chunks from numpy's global state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks.htsat import Htsat
from pipeline.networks.log_mel import MelScale, log_mel

Draw = Callable[[Sequence[int]], int]
"""Picks one of several positions; the reference picks each with the same probability."""


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


def quantise_int16(waveform: np.ndarray) -> np.ndarray:
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
        length: samples the model takes (480000).
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
        length: samples the model takes at once (480000).
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


class AudioNetwork(nn.Module):
    """Spectrograms to rows of unit length.

    Args:
        htsat: the branch.
        projection: its features to an embedding.
        scale: the spectrograms that it was trained on.
        length: samples of a clip that it takes at once.
    """

    def __init__(self, htsat: Htsat, projection: nn.Module, scale: MelScale, length: int) -> None:
        super().__init__()
        self.htsat, self.projection = htsat, projection
        self.scale, self.length = scale, length

    @property
    def fusion(self) -> bool:
        """Whether three chunks of a longer clip are used as well."""
        return self.htsat.shape.fusion

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.htsat.bn0.weight.device

    def forward(self, mels: Tensor, views: Tensor, fused: Tensor | None) -> Tensor:
        """(clips, dim) rows; the arguments are those of `Htsat`."""
        return functional.normalize(self.projection(self.htsat(mels, views, fused)), dim=-1)

    def views(self, samples: np.ndarray, draw: Draw, antialias: bool, quantise: bool) -> Views:
        """The spectrograms of a clip.

        Args:
            samples: float32 (n,) mono at the scale's sample rate.
            draw: picks the crop or the chunks of a longer clip.
            antialias: smooth the squeezed view of a longer clip.
            quantise: round samples to 16 bits first.
        """
        waveform = torch.from_numpy(quantise_int16(samples) if quantise else samples.astype(np.float32, copy=False))
        if not self.fusion:
            return crop_view(waveform, self.length, draw, self.scale)
        return fusion_views(waveform, self.length, draw, self.scale, antialias)

    def embed(self, batch: Sequence[Views], fuse_short: bool) -> np.ndarray:
        """Float32 (clips, dim) rows of unit length.

        Args:
            batch: from `views`.
            fuse_short: also fuse clips that are not longer.
        """
        mels = torch.cat([clip.mel for clip in batch])
        counts = torch.tensor([len(clip.mel) for clip in batch])
        views = (counts.cumsum(0) - counts)[:, None] + torch.arange(4).clamp(max=counts[:, None] - 1)
        fused = torch.tensor([clip.longer or fuse_short for clip in batch]) if self.fusion else None
        return self(mels.to(self.device), views, fused).float().cpu().numpy()


class TextNetwork(nn.Module):
    """Token ids to rows of unit length.

    Args:
        branch: RoBERTa with its pooler.
        projection: its features to an embedding.
    """

    def __init__(self, branch: Any, projection: nn.Module) -> None:
        super().__init__()
        self.branch, self.projection = branch, projection

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.branch.embeddings.word_embeddings.weight.device

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(captions, dim) rows of padded ids and their mask."""
        pooled = self.branch(input_ids=ids, attention_mask=mask).pooler_output
        return functional.normalize(self.projection(pooled), dim=-1)
