"""AVLnet's log-mel spectrograms (https://arxiv.org/abs/2006.09199), many clips at a time.

Each clip by itself: its mean taken off, pre-emphasis, frames of 25 ms every 10 ms under a symmetric Hamming window,
centred by reflection, power, 40 Slaney mel bands, decibels below the clip's loudest value, none lower than -80.

librosa computes the spectrum in float64. Here it is float32, whose rounding is some 140 dB below the frame's loudest
band: frames with a band more than 60 dB below it are computed again in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

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
SINGLE_DB = 60.0
"""How far below the loudest band of its frame a band may be for float32 to be within 1e-3 dB."""
CPU_FRAMES, CUDA_FRAMES = 256, 65_536
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
        self._window32 = self._window.float()
        self._bins, self._weights, self._starts = (part.to(device) for part in _sparse(slaney_bands()))

    def prepare(self, item: np.ndarray, key: bytes) -> np.ndarray:
        """What `encode` takes of one clip; nothing is drawn at random."""
        samples = emphasised(item * np.float32(self._gain) if self._gain != 1.0 else item)
        return self._decibels([samples])[0] if self._device.type == "cpu" else samples

    def encode(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Decibels of each clip, float32 (1 + samples // 160, 40)."""
        return list(batch) if self._device.type == "cpu" else self._decibels(batch)

    @torch.inference_mode()
    def _decibels(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        some = CPU_FRAMES if self._device.type == "cpu" else CUDA_FRAMES
        rows = []
        with torch.autocast(self._device.type, enabled=False):
            for clip in clips:
                frames = torch.from_numpy(clip).to(self._device).unfold(0, SIZE, HOP)
                power = torch.cat([self._power(block * self._window32) for block in frames.split(some)], 1)
                weak = imprecise(power)
                for first in range(0, len(weak), some):
                    block = weak[first : first + some]
                    power[:, block] = self._power(frames[block] * self._window)
                rows.append(np.ascontiguousarray(decibels(power.cpu().numpy()).T))
        return rows

    def _power(self, frames: Tensor) -> Tensor:
        """(frames, 400) samples under the window to float32 (40, frames) power."""
        spectrum = torch.fft.rfft(frames)
        squares = torch.view_as_real(spectrum).square_()
        if self._device.type == "cpu":  # numpy adds every other number faster than torch
            pairs = squares.numpy()
            summed = np.add(pairs[..., 0], pairs[..., 1], dtype=np.float32, casting="same_kind")
            power = torch.from_numpy(np.ascontiguousarray(summed.T))
        else:
            power = squares.sum(-1).float().T.contiguous()
        return embedding_bag(  # as a sum over few rows: a sixth of the time of the full product
            self._bins, power, self._starts, mode="sum", per_sample_weights=self._weights, include_last_offset=True
        )


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
    padded = np.empty(len(samples) + SIZE, np.float32)
    centred, sharp = samples - samples.mean(), padded[SIZE // 2 : -SIZE // 2]
    np.multiply(centred, np.float32(-EMPHASIS), out=sharp)
    sharp[1:] = centred[1:] + sharp[:-1]
    sharp[0] = centred[0]
    if len(samples) <= SIZE // 2:
        return np.pad(sharp, SIZE // 2, mode="reflect")
    padded[: SIZE // 2] = sharp[SIZE // 2 : 0 : -1]
    padded[-SIZE // 2 :] = sharp[-2 : -2 - SIZE // 2 : -1]
    return padded


def imprecise(power: Tensor) -> Tensor:
    """Indices of frames for which float32 is not enough: a band that shows in decibels is too far below the loudest.

    Args:
        power: of one clip, (40, frames).
    """
    hidden = (power.max() * 0.9 * 10.0 ** (-RANGE_DB / 10.0)).clamp_min(0.9 * FLOOR)
    weakest = power.clamp_min(hidden).amin(0)
    return (weakest < power.amax(0) * 10.0 ** (-SINGLE_DB / 10.0)).nonzero()[:, 0]


def decibels(power: np.ndarray) -> np.ndarray:
    """Power of one clip in decibels below its loudest value, at least -80."""
    levels = 10.0 * np.log10(np.maximum(power, FLOOR, dtype=np.float32))
    return np.maximum(levels - levels.max(), -RANGE_DB)


def _sparse(weights: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (201, 40) without zeros, band after band: bins, float32 weights, and where each band starts and ends."""
    bands, bins = np.nonzero(weights.T)
    starts = np.searchsorted(bands, np.arange(BANDS + 1))
    return torch.from_numpy(bins), torch.from_numpy(weights[bins, bands]).float(), torch.from_numpy(starts)
