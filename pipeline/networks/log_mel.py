"""Log-mel spectrograms by FFT, with filters that are computed or that a checkpoint brings along.

Networks trained with torchlibrosa (PANNs, HTS-AT, WavCaps) keep its constants in their checkpoints: the windowed
Fourier kernels, with which it convolves, and the Slaney mel filters. The filters are used as they stand in the file;
the kernels are compared with those of the FFT that takes their place, which costs a hundredth of the multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

FLOOR = 1e-10
"""Power of silence: -100 dB."""

BLOCK_FRAMES = 2048
"""Frames transformed at once, so that memory does not grow with the clip."""

TOLERANCE = 1e-5
"""How far a stored kernel may be from the exact one; float32 rounding is 6e-8."""


def decibels(frames: Tensor, window: Tensor, filters: Tensor) -> Tensor:
    """Power of frames of audio in each mel bin, in dB: (..., size) to (..., bins).

    Args:
        frames: (..., size) samples.
        window: (size,) weights of the samples.
        filters: (size / 2 + 1, bins) weights of the spectrum.
    """
    power = torch.view_as_real(torch.fft.rfft(frames * window)).square().sum(-1)
    return 10.0 * (power @ filters).clamp_min(FLOOR).log10()


class LogMel(nn.Module):
    """Decibels of a power mel spectrogram: periodic Hann window, frames centred by reflection, reference 1.

    It always computes in float32: decibels of quiet audio would not survive half precision.

    Args:
        filters: (window / 2 + 1, bins) mel filters of the checkpoint.
        hop: samples from one frame to the next.
    """

    _filters: Tensor
    _window: Tensor

    def __init__(self, filters: Tensor, hop: int) -> None:
        super().__init__()
        self._hop, self._size = hop, 2 * (len(filters) - 1)
        self.register_buffer("_filters", filters.detach().clone(), persistent=False)
        self.register_buffer("_window", torch.hann_window(self._size), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(clips, samples) float32, more than half a window long, to (clips, 1 + samples // hop, bins) decibels."""
        with torch.autocast(waveforms.device.type, enabled=False):
            half = self._size // 2
            padded = functional.pad(waveforms[:, None], (half, half), mode="reflect")[:, 0]
            return decibels(padded.unfold(1, self._size, self._hop), self._window, self._filters)


def is_windowed_fourier(real: Tensor, imaginary: Tensor) -> bool:
    """Whether kernels stored in a checkpoint, (window / 2 + 1, 1, window) each, compute what `LogMel` does."""
    size = real.shape[-1]
    exact = torch.fft.rfft(torch.diag(torch.hann_window(size, dtype=torch.float64))).T
    return all(
        bool((stored[:, 0] - part).abs().max() <= TOLERANCE)
        for stored, part in ((real, exact.real), (imaginary, exact.imag))
    )


@dataclass(frozen=True)
class MelScale:
    """Spectrogram settings.

    CLAP's models with fusion use the HTK scale of torchaudio; those without use Slaney's, of librosa.
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
