"""AVLnet's log-mel spectrograms (https://arxiv.org/abs/2006.09199), many clips at a time.

Each clip by itself: its mean taken off, pre-emphasis, frames of 25 ms every 10 ms under a symmetric Hamming window,
centred by reflection, power, 40 Slaney mel bands, decibels below the clip's loudest value, none lower than -80.

The spectrum is computed in float64, as librosa does: in float32 the weakest bands of a frame are off by 1e-3 dB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

SAMPLE_RATE = 16_000
SIZE, HOP = 400, 160
BANDS = 40
LOWEST_HZ, HIGHEST_HZ = 20.0, 8_000.0
EMPHASIS = 0.97
FLOOR = 1e-10
"""Power of silence."""
RANGE_DB = 80.0
SAMPLES_OF_NOTHING = 200
"""A clip without any sample counts as so much silence."""
CPU_FRAMES, CUDA_FRAMES = 1_024, 65_536
"""Frames whose spectrum is in memory at a time."""


class SpectrogramTower:
    """Sound to decibels (frames, 40).

    On a GPU many clips are computed together; on a CPU each by the thread that reads it.

    Args:
        device: where it is computed.
        gain_db: by which the sound is made louder first.
    """

    def __init__(self, device: torch.device, gain_db: float = 0.0) -> None:
        self._device = device
        self._gain = 10.0 ** (gain_db / 20.0)
        self._window = torch.hamming_window(SIZE, periodic=False, dtype=torch.float64, device=device)
        self._filters = torch.from_numpy(slaney_bands()).float().to(device)

    def prepare(self, item: np.ndarray, key: bytes) -> np.ndarray:
        """What `encode` takes of one clip; nothing is drawn at random."""
        samples = emphasised(item * np.float32(self._gain) if self._gain != 1.0 else item)
        return self._decibels([samples])[0] if self._device.type == "cpu" else samples

    def encode(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Decibels of each clip, float32 (1 + samples // 160, 40)."""
        return list(batch) if self._device.type == "cpu" else self._decibels(batch)

    @torch.inference_mode()
    def _decibels(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        counts = [1 + (len(clip) - SIZE) // HOP for clip in clips]
        with torch.autocast(self._device.type, enabled=False):
            power = torch.cat([self._power(frames) for frames in _blocks(clips, counts, self._device)])
            return [decibels(clip).cpu().numpy() for clip in power.split(counts)]

    def _power(self, frames: Tensor) -> Tensor:
        """(frames, 400) samples to (frames, 40) power."""
        spectrum = torch.fft.rfft(frames * self._window)
        return (spectrum.real.square() + spectrum.imag.square()).float() @ self._filters


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
        samples: (n,).

    Returns:
        float32 (max(n, 1) + 400,); of nothing, 600 zeros.
    """
    if not len(samples):
        return np.zeros(SAMPLES_OF_NOTHING + SIZE, np.float32)
    centred = samples - samples.mean()
    sharp = centred.astype(np.float32)
    sharp[1:] -= np.float32(EMPHASIS) * centred[:-1]
    return np.pad(sharp, SIZE // 2, mode="reflect")


def decibels(power: Tensor) -> Tensor:
    """Power of one clip in decibels below its loudest value, at least -80."""
    loudest = power.max().clamp_min(FLOOR)
    return (10.0 * power.clamp_min(FLOOR).log10() - 10.0 * loudest.log10()).clamp_min(-RANGE_DB)


def _blocks(clips: Sequence[np.ndarray], counts: Sequence[int], device: torch.device) -> Iterator[Tensor]:
    """The frames of all clips, float64 (some, 400) at a time."""
    some = CPU_FRAMES if device.type == "cpu" else CUDA_FRAMES
    for clip, count in zip(clips, counts, strict=True):
        samples = torch.from_numpy(clip).to(device)
        for first in range(0, count, some):
            last = min(first + some, count)
            yield samples[first * HOP : (last - 1) * HOP + SIZE].double().unfold(0, SIZE, HOP)
