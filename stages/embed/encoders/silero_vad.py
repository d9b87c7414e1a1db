"""How long somebody speaks in a clip, by Silero VAD, whose weights come in its wheel: labels, not embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from stages.embed.encoder import AudioInput, ClipEncoder, EncoderConfig, Tower
from stages.embed.models.wheel_files import verify_sha256, wheel_file

if TYPE_CHECKING:
    import torch


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        weights_sha256: digest of the weights.
        probability: from which on a stretch of 32 ms is speech.
        min_speech_s: shorter speech does not count.
        min_silence_s: shorter pauses are part of the speech.
    """

    weights_sha256: str
    probability: Annotated[float, Field(gt=0, lt=1)] = 0.5
    min_speech_s: Annotated[float, Field(ge=0)] = 0.25
    min_silence_s: Annotated[float, Field(ge=0)] = 0.1


class SileroVadSpeech(ClipEncoder[Config]):
    """Rows of two numbers: seconds of speech, seconds of the clip."""

    dim = 2
    clip_input = AudioInput(16_000)

    def clip_identity(self) -> Mapping[str, Any]:
        """Weights and limits."""
        options = self.config
        return {
            "version": 1,
            "weights": _weights(),
            "limits": [options.probability, options.min_speech_s, options.min_silence_s],
        }

    def load_clip_tower(self, device: torch.device) -> Tower:
        """The network on the device."""
        from stages.embed.models.silero_vad import SpeechTower, load_silero_vad

        verify_sha256(_weights(), self.config.weights_sha256, "weights_sha256")
        options = self.config
        net = load_silero_vad(_weights()).to(device)
        return SpeechTower(net, options.probability, options.min_speech_s, options.min_silence_s)


def _weights() -> Path:
    return wheel_file("silero_vad", "data/silero_vad.jit", "silero-vad")


ENCODER = SileroVadSpeech
