"""CLAP by `transformers`: a folder with `config.json`, `preprocessor_config.json` and the weights of `ClapModel`.

The model is built from the configuration by `transformers`, every key of the file has to fit, and its audio half is
run by the same network as that of a published `.pt` file, to which its parameters are given their old names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ClapConfig, ClapModel, ClapTextModel
from transformers.initialization import no_init_weights
from transformers.models.clap.modeling_clap import ClapProjectionLayer

from pipeline.checkpoints.hub import read_json
from pipeline.checkpoints.text_models import CONFIG, PREPROCESSOR, clap_remedy, weights_of
from pipeline.checkpoints.weights import CheckpointError, check_fit, first_line, load_strictly, read_files
from pipeline.networks.clap import AudioNetwork, TextNetwork
from pipeline.networks.htsat import Htsat, HtsatShape
from pipeline.networks.log_mel import MelScale

CONSTANTS = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
"""Buffers that some versions of transformers save and others do not."""

NETWORK = {
    "window_size": (8,),
    "num_mel_bins": (64,),
    "spec_size": (256,),
    "patch_size": (4,),
    "patch_stride": ((4, 4), 4),
    "patch_embed_input_channels": (1,),
    "hidden_act": ("gelu",),
    "layer_norm_eps": (1e-5,),
    "fusion_type": (None, "aff_2d"),
    "aff_block_r": (4,),
    "mlp_ratio": (4.0,),
    "qkv_bias": (True,),
    "enable_patch_layer_norm": (True,),
}
"""Settings of `audio_config` that all published models share and the network takes for granted."""

PREPROCESSING = {"sampling_rate": (48_000,), "feature_size": (64,), "padding": ("repeatpad",), "top_db": (None,)}
"""The same of `preprocessor_config.json`."""

SCALE_FIELDS = {
    "sampling_rate": "sample_rate",
    "fft_window_size": "window_size",
    "hop_length": "hop_size",
    "feature_size": "mel_bins",
    "frequency_min": "fmin",
    "frequency_max": "fmax",
    "max_length_s": "",
}
"""What of `preprocessor_config.json` is which field of `MelScale`."""

NAMES = (
    (r"^batch_norm\.", "bn0."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.self\.relative", ".attn.relative"),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
"""Parameters that transformers calls by another name than the package, in the order in which to replace them."""


def load_audio(folder: Path) -> AudioNetwork:
    """The audio half of the model in a folder.

    Raises:
        CheckpointError: a file is missing, damaged, or of another architecture.
    """
    config, settings = load_config(folder), read_json(folder / PREPROCESSOR)
    audio = config.audio_config
    _check(folder / CONFIG, {name: getattr(audio, name) for name in NETWORK}, NETWORK)
    _check(folder / PREPROCESSOR, settings, PREPROCESSING)
    absent = [name for name in SCALE_FIELDS if not isinstance(settings.get(name), int | float)]
    if absent:
        raise CheckpointError(f"{folder / PREPROCESSOR} lacks {', '.join(absent)}: {clap_remedy(str(folder))}")
    weights, path = _weights(folder, config)
    fusion = bool(audio.enable_fusion)
    shape = HtsatShape(audio.patch_embeds_hidden_size, tuple(audio.depths), tuple(audio.num_attention_heads), fusion)
    htsat = Htsat(shape, published_names(_part(weights, "audio_model.audio_encoder.")))
    projection = ClapProjectionLayer(audio)
    load_strictly(projection, _part(weights, "audio_projection."), path, "CLAP's audio projection")
    scale = MelScale(**{ours: settings[theirs] for theirs, ours in SCALE_FIELDS.items() if ours}, slaney=not fusion)
    return AudioNetwork(htsat, projection, scale, settings["max_length_s"] * settings["sampling_rate"])


def load_text(folder: Path, layer_norm_eps: float) -> TextNetwork:
    """The text half of the model in a folder.

    Args:
        folder: with the files of the model.
        layer_norm_eps: replaces that of `config.json`.

    Raises:
        CheckpointError: a file is missing, damaged, or of another architecture.
    """
    config = load_config(folder)
    config.text_config.layer_norm_eps = layer_norm_eps
    weights, path = _weights(folder, config)
    with no_init_weights():
        branch = ClapTextModel(config.text_config)
        projection = ClapProjectionLayer(config.text_config)
    kept = {name: value for name, value in branch.state_dict().items() if name.endswith(CONSTANTS)}
    load_strictly(branch, {**_part(weights, "text_model."), **kept}, path, "CLAP's text branch")
    load_strictly(projection, _part(weights, "text_projection."), path, "CLAP's text projection")
    return TextNetwork(branch, projection)


def load_config(folder: Path) -> ClapConfig:
    """The configuration in a folder.

    Raises:
        UserError: there is none, or it is that of another model.
    """
    file = folder / CONFIG
    kind = read_json(file).get("model_type")
    if kind != "clap":
        raise CheckpointError(f"{file} describes a model of type {kind!r}, not 'clap': {clap_remedy(str(folder))}")
    try:
        return ClapConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # wrong values raise anything
        raise CheckpointError(f"{file} is no configuration of CLAP: {first_line(error)}") from error


def published_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of `ClapAudioEncoder` under the names of the `laion_clap` package."""
    named: dict[str, Tensor] = {}
    for key, value in weights.items():
        if ".attention.self.key." in key or ".attention.self.value." in key:
            continue
        if ".attention.self.query." in key:
            parts = [weights[key.replace(".query.", f".{part}.")] for part in ("query", "key", "value")]
            key, value = key.replace("attention.self.query", "attn.qkv"), torch.cat(parts)
        for pattern, name in NAMES:
            key = re.sub(pattern, name, key)
        named[key] = value.clone()  # not mapped from the file
    return named


def _weights(folder: Path, config: ClapConfig) -> tuple[dict[str, Tensor], Path]:
    files = weights_of(folder)
    weights = _lasting(read_files(files))
    with torch.device("meta"):
        expected = _lasting(ClapModel(config).state_dict())
    check_fit(expected, weights, files[0], "the CLAP that its config.json describes")
    return weights, files[0]


def _lasting(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if not key.endswith(CONSTANTS)}


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def _check(file: Path, settings: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]]) -> None:
    for name, values in supported.items():
        value = settings.get(name, values[0])
        if (tuple(value) if isinstance(value, list) else value) not in values:
            raise CheckpointError(f"{file}: {name} is {value!r}, but published models have {values[0]!r}")
