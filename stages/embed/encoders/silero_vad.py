"""How long somebody speaks in a clip, by Silero VAD, whose weights come in its wheel: labels, not embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.checkpoints.wheels import verify_sha256, wheel_file
from stages.embed.encoder import AudioInput, ClipEncoder, EncoderConfig, Tower

if TYPE_CHECKING:
    import torch

    from pipeline.networks.silero import SileroVad

SAMPLE_RATE, STEP = 16_000, 512
"""Samples per second, and per window of one probability."""


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
    clip_input = AudioInput(SAMPLE_RATE)

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
        from pipeline.networks.silero import load_silero_vad

        verify_sha256(_weights(), self.config.weights_sha256, "weights_sha256")
        options = self.config
        net = load_silero_vad(_weights()).to(device)
        return SpeechTower(net, options.probability, options.min_speech_s, options.min_silence_s)


def _weights() -> Path:
    return wheel_file("silero_vad", "data/silero_vad.jit", "silero-vad")


HYSTERESIS = 0.15


def speech_seconds(
    probabilities: NDArray[np.floating], n_samples: int, least: float, min_speech_s: float, min_silence_s: float
) -> float:
    """Seconds of speech in a clip.

    Speech begins with a window of at least the probability `least` and ends with one that is 0.15 below, unless
    speech is back within the shortest silence.

    Args:
        probabilities: of each window of 512 samples.
        n_samples: of the clip, at 16 kHz.
        least: probability.
        min_speech_s: shorter stretches do not count.
        min_silence_s: shorter pauses are part of the speech.
    """
    stretches: list[tuple[int, int]] = []
    start = end = -1
    for window, probability in enumerate(probabilities):
        position = window * STEP
        if probability >= least:
            end = -1
            start = position if start < 0 else start
        elif start >= 0 and probability < max(least - HYSTERESIS, 0.01):
            end = position if end < 0 else end
            if position - end >= min_silence_s * SAMPLE_RATE:
                stretches.append((start, end))
                start = end = -1
    if start >= 0:
        stretches.append((start, n_samples))
    long_enough = [stop - begin for begin, stop in stretches if stop - begin > min_speech_s * SAMPLE_RATE]
    return sum(long_enough) / SAMPLE_RATE


class SpeechTower:
    """Seconds of speech and of audio in each clip.

    Args:
        net: on its device.
        least: as of `speech_seconds`.
        min_speech_s: likewise.
        min_silence_s: likewise.
    """

    def __init__(self, net: SileroVad, least: float, min_speech_s: float, min_silence_s: float) -> None:
        self._net = net
        self._device = next(net.parameters()).device
        self._limits = (least, min_speech_s, min_silence_s)

    def prepare(self, item: NDArray[np.float32], key: bytes) -> NDArray[np.float32]:
        """Samples as they are."""
        return item

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Float32 (n, 2): seconds of speech, seconds of the clip."""
        import torch

        rows = []
        for samples in batch:
            tensor = torch.from_numpy(samples).to(self._device)
            found = self._net.probabilities(tensor).cpu().numpy()
            rows.append((speech_seconds(found, len(samples), *self._limits), len(samples) / SAMPLE_RATE))
        return np.array(rows, np.float32)


ENCODER = SileroVadSpeech
