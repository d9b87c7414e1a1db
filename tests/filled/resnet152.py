"""The encoder family `resnet152` with a checkpoint of torchvision's keys and shapes, filled with known weights."""

from pathlib import Path

from filled.weights import write_weights

from stages.embed.encoders.resnet152 import ENCODER, Config, ResNet152


def encoder(folder: Path, **options: object) -> ResNet152:
    """The encoder with its checkpoint in the folder, where it is written if not there."""
    checkpoint = write_weights(folder / "resnet152-394f9c45.pth", "keys_resnet152.json")
    return ENCODER(Config(family="resnet152", checkpoint=checkpoint, **options))
