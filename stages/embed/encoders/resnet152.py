"""2D frame features: torchvision's ResNet-152, one row a second, of unit length and not pooled over time.

As video_feature_extractor makes AVLnet's `2d` features: https://github.com/antoine77340/video_feature_extractor.
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
SHORT_SIDE = 224


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        checkpoint: torchvision's `resnet152-….pth` (IMAGENET1K_V1).
        fps: frames per second.
    """

    checkpoint: Path
    fps: Annotated[int, Field(ge=1, le=120)] = 1


class ResNet152(ClipEncoder[Config]):
    """Frames whose short side is 224, each by ResNet-152's mean over the whole of it."""

    dim = 2048

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.clip_input = FrameRate(config.fps, SHORT_SIDE)

    def row_format(self, tower: str) -> RowFormat:
        """Ragged rows in half precision."""
        return RowFormat(self.dim, "float16", ragged=True)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {"version": VERSION, "checkpoint": existing(self.config.checkpoint), "fps": self.config.fps}

    def load_clip_tower(self, device: torch.device) -> Tower:
        """The network on the device."""
        from pipeline.networks import packed, resnet

        features = packed.place(resnet.load_resnet152(self.config.checkpoint), device)
        return FrameFeatureTower(features, device, 1, [features.trunk])


ENCODER = ResNet152
