"""The same filled LAION-CLAP as a folder of `transformers`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from filled import laion_clap, roberta_files
from safetensors.torch import save_file

from pipeline.checkpoints.weights import read_state_dict
from stages.embed.encoders.laion_clap import ENCODER, Config, LaionClap

HEARING = {
    "feature_extractor_type": "ClapFeatureExtractor",
    "feature_size": 64,
    "fft_window_size": 1024,
    "frequency_max": 14000,
    "frequency_min": 50,
    "hop_length": 480,
    "max_length_s": 10,
    "padding": "repeatpad",
    "sampling_rate": 48000,
    "top_db": None,
}
SIZES = {
    "HTSAT-tiny": {"depths": [2, 2, 6, 2], "patch_embeds_hidden_size": 96, "hidden_size": 768},
    "HTSAT-base": {"depths": [2, 2, 12, 2], "patch_embeds_hidden_size": 128, "hidden_size": 1024},
}
RENAMED = (
    ("audio_branch.", "audio_model.audio_encoder."),
    ("text_branch.", "text_model."),
    (".bn0.", ".batch_norm."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".attn.proj.", ".attention.output.dense."),
    (".attn.", ".attention.self."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
    ("_projection.0.", "_projection.linear1."),
    ("_projection.2.", "_projection.linear2."),
)
DROPPED = ("spectrogram_extractor", "logmel_extractor", "tscam_conv", "audio_branch.head", "attn_mask", "_transform.")


def encoder(
    folder: Path, *, amodel: str = "HTSAT-tiny", fusion: bool = True, small_text: bool = False, **options: object
) -> LaionClap:
    """The family over a folder like `laion/clap-htsat-fused`, written beside the `.pt` file if it is not there yet."""
    official = laion_clap.encoder(folder, amodel=amodel, fusion=fusion, small_text=small_text).config
    model = Path(official.checkpoint).with_suffix("")
    if not model.is_dir():
        write(model, Path(official.checkpoint), amodel, fusion, small_text)
    return ENCODER(Config(family="laion-clap", loader="transformers", checkpoint=str(model), **options))


def write(folder: Path, official: Path, amodel: str, fusion: bool, small_text: bool) -> None:
    """Writes the folder of `transformers` for a `.pt` file."""
    changes = roberta_files.SMALL if small_text else {}
    roberta_files.write(folder, **changes)
    weights = converted(read_state_dict(official))
    text = {"model_type": "clap_text_model", "projection_dim": 512, **changes}
    audio = {"model_type": "clap_audio_model", "enable_fusion": fusion, "fusion_type": None, **SIZES[amodel]}
    config = {"model_type": "clap", "projection_dim": 512, "text_config": text, "audio_config": audio}
    (folder / "config.json").write_text(json.dumps(config))
    hearing = {**HEARING, "truncation": "fusion" if fusion else "rand_trunc"}
    (folder / "preprocessor_config.json").write_text(json.dumps(hearing))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def converted(official: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Parameters under the names of `ClapModel`."""
    named = {}
    for key, value in official.items():
        if any(part in key for part in DROPPED):
            continue
        for old, new in RENAMED:
            key = key.replace(old, new)
        if ".qkv." in key:
            for part, slab in zip(("query", "key", "value"), value.chunk(3), strict=True):
                named[key.replace("qkv", part)] = slab.contiguous()
        else:
            named[key] = value.contiguous()
    return named
