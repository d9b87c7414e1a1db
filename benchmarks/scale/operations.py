"""Floating-point operations of each network on one clip of 4 s: `python -m benchmarks.scale.operations`.

Counted by torch (matrix products and convolutions, a multiplication and an addition each) on filled checkpoints.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cache.measure import show
from benchmarks.encoders.material import families, filled_encoder
from stages.embed.encoder import AudioInput, ClipInput, FrameRate

torch.inference_mode = torch.no_grad  # type: ignore[assignment,misc] # in inference mode products are not counted
CLIP_S = 4.0
SMALL = ("clip_like", "conse", "open_clip")
"""Families that the tests fill at a small size."""


def clip(kind: ClipInput) -> np.ndarray:
    """What a tower is given of a clip: noise."""
    generator = np.random.default_rng(0)
    if isinstance(kind, AudioInput):
        return generator.standard_normal(round(CLIP_S * kind.sample_rate)).astype(np.float32) / 10
    if isinstance(kind, FrameRate):
        count, size = (
            round(CLIP_S * kind.fps),
            (kind.short_side, kind.short_side if kind.crop else kind.short_side * 16 // 9),
        )
    else:
        count, size = kind.count, (360, 640)
    return generator.integers(0, 256, (count, *size, 3)).astype(np.uint8)


def operations(family: str) -> int:
    """Operations of `encode` on one clip."""
    with tempfile.TemporaryDirectory() as folder:
        encoder = filled_encoder(family, Path(folder))
        with patch("pipeline.networks.packed.can_pack", lambda *_: False):
            tower = encoder.load_clip_tower(torch.device("cpu"))
        prepared = tower.prepare(clip(encoder.clip_input), b"\0" * 16)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tower.encode([prepared])
    return counter.get_total_flops()


def of_frames(network: torch.nn.Module, frames: int = 8) -> int:
    """Operations of a picture network of the hub on the frames of a clip."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(frames, 3, 224, 224))
    return counter.get_total_flops()


def main() -> None:
    """Prints a table."""
    from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=[one for one in families() if one not in SMALL])
    found = {family: operations(family) for family in parser.parse_args().families}
    found["clip-vit-b32"] = of_frames(CLIPVisionModel(CLIPVisionConfig()))
    found["siglip-base"] = of_frames(SiglipVisionModel(SiglipVisionConfig()))
    lines = [[name, f"{count / 1e9:.1f}"] for name, count in found.items()]
    show("One clip of 4 s", ["family or encoder", "10^9 operations"], lines)


if __name__ == "__main__":
    main()
