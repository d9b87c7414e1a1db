"""3D frame features: a 3D ResNeXt-101 trained on Kinetics, a row of unit length for every 16 frames.

As video_feature_extractor makes AVLnet's `3d` features: https://github.com/antoine77340/video_feature_extractor.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cache.rows import RowFormat
from pipeline.checkpoints.official import existing
from stages.embed.encoder import ClipEncoder, EncoderConfig, FrameRate, Tower
from stages.embed.tower_parts import FrameFeatureTower

if TYPE_CHECKING:
    import torch

VERSION = 1  # raise it when a change of this code changes rows
SIDE = 112


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        checkpoint: the ResNeXt-101 weights of AVLnet's release.
        fps: frames per second; at 24 a row stands for two thirds of a second.
    """

    checkpoint: Path
    fps: Annotated[int, Field(ge=1, le=120)] = 24


class ResNeXt1013D(ClipEncoder[Config]):
    """The middle squares of frames, 112 pixels wide, 16 at a time by ResNeXt-101."""

    dim = 2048

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.clip_input = FrameRate(config.fps, SIDE, crop=True)

    def row_format(self, tower: str) -> RowFormat:
        """Ragged rows in half precision."""
        return RowFormat(self.dim, "float16", ragged=True)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {"version": VERSION, "checkpoint": existing(self.config.checkpoint), "fps": self.config.fps}

    def load_clip_tower(self, device: torch.device) -> Tower:
        """The network on the device."""
        from pipeline.networks import packed, resnet

        network = packed.place(resnet.load_resnext3d(self.config.checkpoint), device)
        return FrameFeatureTower(network, device, resnet.LENGTH, [network])


ENCODER = ResNeXt1013D
