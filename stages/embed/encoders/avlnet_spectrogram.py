"""AVLnet's log-mel spectrograms as ragged rows: 100 a second, 40 mel bands, in dB below the clip's loudest value.

AVLnet: https://arxiv.org/abs/2006.09199. The rows are those of its `LoadAudio` of a wav file of the clip, at full
length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cache.rows import RowFormat
from stages.embed.encoder import AudioInput, ClipEncoder, EncoderConfig, Modality, Tower

if TYPE_CHECKING:
    import torch

VERSION = 3  # raise it when a change of this code changes rows


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        gain_db: by which the sound is made louder first; AVLnet's users make it softer by 4 dB. Decibels are relative
            to the loudest value of the clip, so that a gain cancels out, unless 80 dB below that lies under the floor
            (1e-10 of power): in clips whose peak is some 35 dB (a tone) to 55 dB (noise) under full scale or softer.
    """

    gain_db: Annotated[float, Field(ge=-60, le=60)] = 0.0


class AVLnetSpectrogram(ClipEncoder[Config]):
    """Sound at 16 kHz to log-mel spectrograms."""

    dim = 40
    clip_input = AudioInput(16_000)

    def row_format(self, modality: Modality) -> RowFormat:
        """Ragged rows in single precision."""
        return RowFormat(self.dim, ragged=True)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {"version": VERSION, "gain_db": self.config.gain_db}

    def load_clip_tower(self, device: torch.device) -> Tower:
        """The transform on the device."""
        from stages.embed.models.avlnet_spectrogram import SpectrogramTower

        return SpectrogramTower(device, self.config.gain_db)


ENCODER = AVLnetSpectrogram
