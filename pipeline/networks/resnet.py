"""The residual networks of AVLnet's frame features, without their classifiers.

Features of single frames (2D): ResNet-152 (https://arxiv.org/abs/1512.03385). Features over space and time (3D):
ResNeXt-101 (https://arxiv.org/abs/1711.09577), trained on Kinetics, its parts named as in the published weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet152

from pipeline.checkpoints.weights import load_strictly, read_state_dict

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPSILON = 1e-8
"""That the original adds to each deviation."""


class Features2d(nn.Module):
    """Frames to the mean of ResNet's last map over the whole, not necessarily square, frame.

    Args:
        network: torchvision's ResNet, filled.
    """

    _mean: Tensor
    _deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        layers = [layer for name, layer in network.named_children() if name not in ("avgpool", "fc")]
        self.trunk = nn.Sequential(*layers)
        self.register_buffer("_mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("_deviation", torch.tensor(IMAGENET_DEVIATION).view(3, 1, 1) + EPSILON, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Uint8 (n, 1, height, width, 3) to (n, 2048)."""
        pixels = frames[:, 0].permute(0, 3, 1, 2).float() / 255
        return self.trunk((pixels - self._mean) / self._deviation).mean((2, 3))


def load_resnet152(checkpoint: Path) -> Features2d:
    """Fills the network from torchvision's file `resnet152-….pth`, all of whose keys have to fit.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(checkpoint)
    with torch.device("meta"):
        network = resnet152()
    network.to_empty(device="cpu")
    load_strictly(network, weights, checkpoint, "torchvision's ResNet-152")
    features = Features2d(network).eval().requires_grad_(False)
    return features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


LENGTH, SIDE = 16, 112
"""Frames of a clip that the network takes, and their size."""
KINETICS_MEAN = (110.6, 103.2, 96.3)
"""Of the training data, red, green, blue, of 255; nothing is divided by."""
BLOCKS, WIDTHS = (3, 4, 23, 3), (128, 256, 512, 1024)
GROUPS, EXPANSION = 32, 2
CLASSES = 400


class Block(nn.Module):
    """Down to `width` channels, 3 x 3 x 3 in 32 groups, and up again, around a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * EXPANSION
        self.conv1 = nn.Conv3d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, padding=1, groups=GROUPS, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv3d(channels, out, 1, stride, bias=False), nn.BatchNorm3d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, time, height, width) to (n, 2 width, …)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu_()
        x = self.bn2(self.conv2(x)).relu_()
        return self.bn3(self.conv3(x)).add_(shortcut).relu_()


class ResNeXt3D(nn.Module):
    """Up to and without its classifier, whose weights are kept so that published files fit."""

    _mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, (1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, 2, padding=1)
        channels = 64
        for number, (blocks, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True), start=1):
            layers = []
            for block in range(blocks):
                layers.append(Block(channels, width, 2 if number > 1 and block == 0 else 1))
                channels = width * EXPANSION
            setattr(self, f"layer{number}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, CLASSES)
        self.register_buffer("_mean", torch.tensor(KINETICS_MEAN).view(3, 1, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Uint8 (n, 16, 112, 112, 3) to (n, 2048).

        Frames that fill a clip up are zeros before the mean is taken off.
        """
        x = frames.permute(0, 4, 1, 2, 3).float() - self._mean
        x = self.maxpool(self.bn1(self.conv1(x)).relu_())
        for number in range(1, len(BLOCKS) + 1):
            x = getattr(self, f"layer{number}")(x)
        return x.mean((2, 3, 4))


def load_resnext3d(checkpoint: Path) -> ResNeXt3D:
    """Fills the network from the weights of AVLnet's release, all of whose keys have to fit.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(checkpoint)
    with torch.device("meta"):
        network = ResNeXt3D()
    network.to_empty(device="cpu")
    network._mean.copy_(torch.tensor(KINETICS_MEAN).view(3, 1, 1, 1))
    load_strictly(network, weights, checkpoint, "the 3D ResNeXt-101 of Kinetics")
    return network.eval().requires_grad_(False)
