"""ResNet-152 without its classifier (https://arxiv.org/abs/1512.03385), as AVLnet's flat features are made of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet152

from pipeline.checkpoints.weights import load_strictly, read_state_dict
from stages.embed.models.picture_features import PictureTower
from stages.embed.models.placing import place

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPSILON = 1e-8
"""That the original adds to each deviation."""


class FlatFeatures(nn.Module):
    """Pictures to the mean of ResNet's last map over the whole, not necessarily square, picture.

    Args:
        network: torchvision's ResNet, filled.
    """

    _mean: Tensor
    _deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        layers = [layer for name, layer in network.named_children() if name not in ("avgpool", "fc")]
        self.trunk = nn.Sequential(*layers)
        self.register_buffer("_mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("_deviation", torch.tensor(DEVIATION).view(3, 1, 1) + EPSILON, persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Uint8 (n, 1, height, width, 3) to (n, 2048)."""
        pixels = pictures[:, 0].permute(0, 3, 1, 2).float() / 255
        return self.trunk((pixels - self._mean) / self._deviation).mean((2, 3))


def load(checkpoint: Path) -> FlatFeatures:
    """Fills the network from torchvision's file `resnet152-….pth`, all of whose keys have to fit.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(checkpoint)
    with torch.device("meta"):
        network = resnet152()
    network.to_empty(device="cpu")
    load_strictly(network, weights, checkpoint, "torchvision's ResNet-152")
    return FlatFeatures(network).eval().requires_grad_(False)


def load_tower(checkpoint: Path, device: torch.device) -> PictureTower:
    """The network on the device as a tower."""
    features = place(load(checkpoint).to(memory_format=torch.channels_last), device)  # type: ignore[call-overload]
    return PictureTower(features, device, 1, [features.trunk])
