"""AVLnet's log-mel spectrograms (https://arxiv.org/abs/2006.09199).

Each clip by itself: its mean taken off, pre-emphasis, frames of 25 ms every 10 ms under a symmetric Hamming window,
centred by reflection, power, 40 Slaney mel bands, decibels below the clip's loudest value, none lower than -80. As in
librosa, samples are float32 and the spectrum is float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stages.embed.models.compiled import compiled
from stages.embed.models.frame_power import HOP, SIZE, BandPower

SAMPLE_RATE = 16_000
BANDS = 40
LOWEST_HZ, HIGHEST_HZ = 20.0, 8_000.0
EMPHASIS = np.float32(0.97)
FLOOR = 1e-10
"""Power of silence."""
RANGE_DB = 80.0
SAMPLES_OF_NOTHING = 200
"""A clip without any sample counts as so much silence."""
CUDA_FRAMES = 16_384
"""Frames whose spectrum is in a GPU's memory at a time."""


class SpectrogramTower:
    """Sound to decibels (frames, 40): on a GPU by torch, elsewhere by the threads that read, at the same time.

    Args:
        device: where it is computed.
        gain_db: by which the sound is made louder first.
    """

    def __init__(self, device: torch.device, gain_db: float = 0.0) -> None:
        self._gain = np.float32(10.0 ** (gain_db / 20.0))
        window, weights = np.hamming(SIZE), slaney_bands()
        self._device, self._on_gpu = device, device.type == "cuda"
        if self._on_gpu:
            self._window, self._weights = torch.from_numpy(window).to(device), torch.from_numpy(weights).to(device)
        else:
            self._power = BandPower(window, weights)

    def prepare(self, item: np.ndarray, key: bytes) -> np.ndarray:
        """What `encode` takes of one clip; nothing is drawn at random."""
        samples = emphasised(item * self._gain if self._gain != 1.0 else item)
        return samples if self._on_gpu else decibels(self._power(samples))

    def encode(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Decibels of each clip, float32 (1 + samples // 160, 40)."""
        if not self._on_gpu:
            return list(batch)
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            clips = [torch.from_numpy(samples).to(self._device, non_blocking=True) for samples in batch]
            return [decibels(torch_power(clip, self._window, self._weights).cpu().numpy()) for clip in clips]


def torch_power(samples: Tensor, window: Tensor, weights: Tensor) -> Tensor:
    """What `BandPower` computes, by torch where the samples are: float32 (frames, bands)."""
    blocks = samples.unfold(0, SIZE, HOP).split(CUDA_FRAMES)
    return torch.cat([torch.fft.rfft(frames * window).abs().square() @ weights for frames in blocks]).float()


def slaney_bands() -> np.ndarray:
    """Weights (201, 40) of triangular bands, each of area 2, on Slaney's scale: linear below 1 kHz, logarithmic above.

    From M. Slaney, Auditory Toolbox, 1998, as librosa computes them.
    """
    step = np.log(6.4) / 27.0

    def mel(hertz: float) -> float:
        return hertz * 3 / 200 if hertz < 1000.0 else 15.0 + np.log(hertz / 1000.0) / step

    mels = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2)
    edges = np.where(mels < 15.0, mels * 200 / 3, 1000.0 * np.exp(step * (mels - 15.0)))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, SIZE // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (edges[2:] - edges[:-2])


def emphasised(samples: np.ndarray) -> np.ndarray:
    """Mean off, pre-emphasis, then half a frame more at both ends, mirrored as often as it takes.

    Args:
        samples: float32 (n,).

    Returns:
        float32 (max(n, 1) + 400,); of nothing, 600 zeros.
    """
    if not len(samples):
        return np.zeros(SAMPLES_OF_NOTHING + SIZE, np.float32)
    out = np.empty(len(samples) + SIZE, np.float32)
    _emphasise(samples, samples.mean(), out)
    return out


@compiled
def _emphasise(samples, mean, out):  # type: ignore[no-untyped-def]
    n, start = len(samples), SIZE // 2
    out[start] = samples[0] - mean
    for i in range(1, n):
        out[start + i] = (samples[i] - mean) - EMPHASIS * (samples[i - 1] - mean)
    period = max(2 * (n - 1), 1)
    for i in range(start):
        for outside in (-1 - i, n + i):
            inside = abs(outside) % period
            out[start + outside] = out[start + min(inside, period - inside)]


def decibels(power: np.ndarray) -> np.ndarray:
    """Power of one clip in decibels below its loudest value, at least -80."""
    levels = 10.0 * np.log10(np.maximum(power, FLOOR, dtype=np.float32))
    return np.maximum(levels - levels.max(), -RANGE_DB)
