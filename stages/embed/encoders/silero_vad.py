"""How long somebody speaks in a clip, by Silero VAD, whose weights come in its wheel: labels, not embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
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

SAMPLE_RATE = 16_000


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


def speech_seconds(
    probabilities: NDArray[np.floating], n_samples: int, least: float, min_speech_s: float, min_silence_s: float
) -> float:
    """Seconds of speech in a clip by the rules of the package `silero-vad`, without its padding.

    Args:
        probabilities: of each window of 512 samples.
        n_samples: of the clip, at 16 kHz.
        least: probability at which speech begins; it ends 0.15 below.
        min_speech_s: shorter stretches do not count.
        min_silence_s: shorter pauses are part of the speech.
    """
    stretches = _rules()(
        probabilities.tolist(),
        SAMPLE_RATE,
        least,
        min_speech_duration_ms=min_speech_s * 1000,
        min_silence_duration_ms=min_silence_s * 1000,
        speech_pad_ms=0,
        audio_length_samples=n_samples,
    )
    return sum(stretch["end"] - stretch["start"] for stretch in stretches) / SAMPLE_RATE


@cache
def _rules() -> Callable[..., list[dict[str, int]]]:
    import torch

    threads = torch.get_num_threads()
    from silero_vad.utils_vad import get_speech_timestamps_from_probs

    torch.set_num_threads(threads)  # importing the package makes it 1 for all of torch
    return get_speech_timestamps_from_probs


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
        _rules()

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
