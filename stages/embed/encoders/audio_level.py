"""How loud a clip is: the peak and the root mean square of its samples. Labels, not embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.embed.encoder import AudioInput, ClipEncoder, EncoderConfig, Tower

if TYPE_CHECKING:
    import torch


class Config(EncoderConfig):
    """There is nothing to choose."""


class AudioLevel(ClipEncoder[Config]):
    """Rows of two numbers: peak and root mean square of the mono samples, linear, 1 being full scale."""

    dim = 2
    clip_input = AudioInput(None)

    def clip_identity(self) -> Mapping[str, Any]:
        """The definition alone."""
        return {"version": 1}

    def load_clip_tower(self, device: torch.device) -> Tower:
        """No network."""
        return LevelTower()


class LevelTower:
    """Measures samples."""

    def prepare(self, item: NDArray[np.float32], key: bytes) -> NDArray[np.float32]:
        """Float32 (2,): peak and root mean square; in float64, so that soft clips keep theirs."""
        samples = np.abs(item.astype(np.float64))
        if not len(samples):
            return np.zeros(2, np.float32)
        return np.array([samples.max(), np.sqrt(np.mean(samples * samples))], np.float32)

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Float32 (n, 2)."""
        return np.stack(batch)


ENCODER = AudioLevel
