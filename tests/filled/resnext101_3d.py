"""The encoder family `resnext101-3d` with a checkpoint of the release's keys and shapes, filled with known weights."""

from pathlib import Path

from filled.weights import write_weights

from stages.embed.encoders.resnext101_3d import ENCODER, Config, ResNeXt1013D


def encoder(folder: Path, **options: object) -> ResNeXt1013D:
    """The encoder with its checkpoint in the folder, where it is written if not there."""
    checkpoint = write_weights(folder / "resnext101.pth", "keys_resnext101_3d.json")
    return ENCODER(Config(family="resnext101-3d", checkpoint=checkpoint, **options))
