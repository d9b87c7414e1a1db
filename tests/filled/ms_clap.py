"""The encoder family `ms-clap` with a checkpoint of the published keys and shapes, filled with known weights."""

import json
from pathlib import Path

import torch
from filled import gpt2_files, wavcaps

from stages.embed.encoders.ms_clap import ENCODER, Config, MsClap

KEYS = json.loads((Path(__file__).parents[1] / "parity/golden/keys_ms_clap_2023.json").read_text())["keys"]
HTSAT = "audio_encoder.base.htsat."
EXTRACTOR = {
    f"{HTSAT}spectrogram_extractor.": f"{wavcaps.EXTRACTOR}mel_trans.",
    f"{HTSAT}logmel_extractor.": f"{wavcaps.EXTRACTOR}log_trans.",
}
"""Constants that both checkpoints hold, and their names in that of WavCaps."""


def encoder(folder: Path, **options: object) -> MsClap:
    """The encoder with its checkpoint and a small vocabulary in the folder, where they are written if not there."""
    checkpoint = folder / "CLAP_weights_2023.pth"
    if not checkpoint.exists():
        torch.save({"model": {key: _filled(key, shape) for key, shape, _ in KEYS} | causal_masks()}, checkpoint)
    text_model = gpt2_files.write(folder / "gpt2")
    return ENCODER(Config(**{"family": "ms-clap", "checkpoint": checkpoint, "text_model": str(text_model), **options}))


def causal_masks() -> dict[str, torch.Tensor]:
    """Constants of GPT-2 as the published file has them, from the transformers of its time."""
    mask, outside = torch.ones(1, 1, 1024, 1024, dtype=torch.bool).tril(), torch.tensor(-1e4)
    layers = [f"caption_encoder.base.h.{layer}.attn." for layer in range(12)]
    return {f"{name}bias": mask for name in layers} | {f"{name}masked_bias": outside for name in layers}


def _filled(key: str, shape: list[int]) -> torch.Tensor:
    if key == "logit_scale":
        return torch.tensor(4.0)
    for prefix, theirs in EXTRACTOR.items():
        if key.startswith(prefix):
            key = key.replace(prefix, theirs)
    return wavcaps.filled_tensor(key, shape)
