"""Silero VAD 6 (Silero Team, MIT, github.com/snakers4/silero-vad) at 16 kHz: how probable speech is every 32 ms.

The network in PyTorch, for whole clips at a time, with the weights that the wheel `silero-vad` carries.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from pipeline.checkpoints.wheels import WeightsError

SAMPLE_RATE = 16_000
STEP = 512
CONTEXT = 64
_BINS = 129
_WINDOWS_AT_ONCE = 4096


class SileroVad(nn.Module):
    """Spectrum, four convolutions and an LSTM over the windows of a clip."""

    spectrum: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("spectrum", torch.zeros(2 * _BINS, 1, 256))
        sizes = [(_BINS, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1)]
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, 3, stride, 1) for a, b, stride in sizes)
        self.memory = nn.LSTM(128, 128)
        self.decision = nn.Linear(128, 1)

    @torch.inference_mode()
    def probabilities(self, samples: Tensor) -> Tensor:
        """Probability of speech in each window of 512 samples, (ceil(n / 512),), of samples (n,) at 16 kHz."""
        padded = pad(samples, (CONTEXT, -len(samples) % STEP))
        windows = padded.unfold(0, STEP + CONTEXT, STEP)
        state = None
        found = []
        for some in windows.split(_WINDOWS_AT_ONCE):
            x = conv1d(pad(some[:, None], (0, CONTEXT), "reflect"), self.spectrum, stride=128)
            x = (x[:, :_BINS].square() + x[:, _BINS:].square()).sqrt()
            for layer in self.convolutions:
                x = layer(x).relu()
            x, state = self.memory(x[..., 0], state)
            found.append(self.decision(x.relu()).sigmoid()[:, 0])
        return torch.cat(found)


def _renamed(name: str) -> str:
    """A name of the file's 16 kHz model in `SileroVad`."""
    layer, _, kind = name.removeprefix("_model.").rpartition(".")
    if layer == "stft":
        return "spectrum"
    if layer == "decoder.rnn":
        return f"memory.{kind}_l0"
    if layer == "decoder.decoder.2":
        return f"decision.{kind}"
    return f"convolutions.{layer.split('.')[1]}.{kind}"


def load_silero_vad(path: Path) -> SileroVad:
    """Reads the weights out of the wheel's TorchScript file and runs none of it; check its digest before.

    Raises:
        WeightsError: the file is damaged or of another network.
    """
    try:
        weights = torch.jit.load(path, map_location="cpu").state_dict()
        named = {_renamed(name): value for name, value in weights.items() if "_8k" not in name}
        named["decision.weight"] = named["decision.weight"][..., 0]
        net = SileroVad()
        net.load_state_dict(named, strict=True)
    except Exception as error:  # TorchScript raises its own kinds
        raise WeightsError(f"{path} is not Silero VAD 6 ({' '.join(str(error).split())[:200]})") from None
    return net.eval()
