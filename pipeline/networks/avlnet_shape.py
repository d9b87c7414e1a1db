"""The variants and sizes of AVLnet and how it is trained: names that need no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Variant = Literal["bi", "tri", "fused"]
Objective = Literal["pairs", "text-to-sum"]
Mode = Literal["eval", "train"]

NAMES: dict[Variant, str] = {"bi": "AVLnet", "tri": "AVLnet-Text-Tri", "fused": "AVLnet-Text-Fused"}

VIDEO_DIM = 4096
WORD_DIM = 300
MARGIN = 0.001
AUDIO_WIDTHS = (128, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Shape:
    """What kind of AVLnet, and how large.

    Attributes:
        variant: `bi` (AVLnet: audio, video), `tri` (AVLnet-Text-Tri: and text apart) or `fused`
            (AVLnet-Text-Fused: audio and text together against the video).
        dim: of the space.
        video_dim: of a frame feature, 2D and 3D side by side.
        word_dim: of a word vector.
        audio_widths: channels of the audio trunk, of its first convolution and its four stages.
    """

    variant: Variant = "bi"
    dim: int = 4096
    video_dim: int = VIDEO_DIM
    word_dim: int = WORD_DIM
    audio_widths: tuple[int, ...] = AUDIO_WIDTHS

    @property
    def sides(self) -> tuple[str, ...]:
        """What the network embeds, in the order of its outputs."""
        first = "sound_text" if self.variant == "fused" else "sound"
        return (first, "picture", "text") if self.variant == "tri" else (first, "picture")
