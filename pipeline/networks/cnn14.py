"""Cnn14 of PANNs (https://arxiv.org/abs/1912.10211): six pairs of 3 x 3 convolutions, arranged for embedding.

Parameters have their published names; class scores, which no embedding needs, are not computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (1, 64, 128, 256, 512, 1024, 2048)
BINS, FEATURES, CLASSES = 64, 2048, 527
UNUSED = ("spectrogram_extractor.", "logmel_extractor.", "fc_audioset.")


class Cnn14(nn.Module):
    """Log-mel spectrograms to features."""

    def __init__(self) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(BINS)
        for i, (inputs, outputs) in enumerate(pairwise(WIDTHS), start=1):
            self.add_module(f"conv_block{i}", _Block(inputs, outputs))
        self.fc1 = nn.Linear(FEATURES, FEATURES)

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Cnn14:
        """The network with the state dict of the published one, checked already."""
        with torch.device("meta"):
            network = cls()
        network.load_state_dict({k: v for k, v in weights.items() if not k.startswith(UNUSED)}, assign=True)
        return network.eval().requires_grad_(False)

    def forward(self, mels: Tensor) -> Tensor:
        """(clips, frames, 64) decibels, at least 32 frames, to (clips, 2048)."""
        x = self.bn0(mels.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)[:, None]
        blocks = [self.get_submodule(f"conv_block{i}") for i in range(1, len(WIDTHS))]
        for block in blocks[:-1]:
            x = functional.avg_pool2d(block(x), 2)
        x = blocks[-1](x).mean(3)
        return functional.relu(self.fc1(x.amax(2) + x.mean(2)))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # each normalisation after its convolution, as `pack_convolutions` expects them
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)))
