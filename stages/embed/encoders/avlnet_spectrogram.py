"""AVLnet's log-mel spectrograms as ragged rows: 100 a second, 40 mel bands, in dB below the clip's loudest value.

AVLnet: https://arxiv.org/abs/2006.09199. The rows are those of its `LoadAudio` of a wav file of the clip, at full
length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from cache.rows import RowFormat
from stages.embed.encoder import AudioInput, ClipEncoder, EncoderConfig, Tower

if TYPE_CHECKING:
    import torch

VERSION = 3  # raise it when a change of this code changes rows


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        gain_db: by which the audio is made louder first; AVLnet's users make it softer by 4 dB. Decibels are relative
            to the loudest value of the clip, so that a gain cancels out, unless 80 dB below that lies under the floor
            (1e-10 of power): in clips whose peak is some 35 dB (a tone) to 55 dB (noise) under full scale or softer.
    """

    gain_db: Annotated[float, Field(ge=-60, le=60)] = 0.0


class AVLnetSpectrogram(ClipEncoder[Config]):
    """Audio at 16 kHz to log-mel spectrograms."""

    dim = 40
    clip_input = AudioInput(16_000)

    def row_format(self, tower: str) -> RowFormat:
        """Ragged rows in single precision."""
        return RowFormat(self.dim, ragged=True)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {"version": VERSION, "gain_db": self.config.gain_db}

    def load_clip_tower(self, device: torch.device) -> Tower:
        """The transform on the device."""
        return SpectrogramTower(device, self.config.gain_db)


class SpectrogramTower:
    """Audio to decibels (frames, 40): on a GPU by torch, elsewhere by the threads that prepare clips, at the same time.

    Args:
        device: where it is computed.
        gain_db: by which the audio is made louder first.
    """

    def __init__(self, device: torch.device, gain_db: float = 0.0) -> None:
        import torch

        from pipeline.networks.avlnet_spectrogram import SIZE, BandPower, slaney_bands

        self._gain = np.float32(10.0 ** (gain_db / 20.0))
        window, weights = np.hamming(SIZE), slaney_bands()
        self._device, self._on_gpu = device, device.type == "cuda"
        if self._on_gpu:
            self._window, self._weights = torch.from_numpy(window).to(device), torch.from_numpy(weights).to(device)
        else:
            self._power = BandPower(window, weights)

    def prepare(self, item: np.ndarray, key: bytes) -> np.ndarray:
        """What `encode` takes of one clip; nothing is drawn at random."""
        from pipeline.networks.avlnet_spectrogram import decibels, emphasised

        samples = emphasised(item * self._gain if self._gain != 1.0 else item)
        return samples if self._on_gpu else decibels(self._power(samples))

    def encode(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Decibels of each clip, float32 (1 + samples // 160, 40)."""
        if not self._on_gpu:
            return list(batch)
        import torch

        from pipeline.networks.avlnet_spectrogram import decibels, torch_power

        with torch.autocast(self._device.type, enabled=False):
            clips = [torch.from_numpy(samples).to(self._device, non_blocking=True) for samples in batch]
            return [decibels(torch_power(clip, self._window, self._weights).cpu().numpy()) for clip in clips]


ENCODER = AVLnetSpectrogram
