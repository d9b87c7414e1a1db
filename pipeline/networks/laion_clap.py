"""LAION-CLAP from its published `.pt` files, without the `laion_clap` package.

A file holds both branches under the package's names. They are checked one by one against the names and shapes of the
architecture, and fill the networks of `htsat.py` and RoBERTa of `transformers`. What the package computes of the same
file is in `laion_clap_package.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import RobertaConfig, RobertaModel
from transformers.initialization import no_init_weights

from pipeline.checkpoints.weights import CheckpointError, check_fit, check_numbers, drop_position_ids, read_state_dict
from pipeline.networks.clap import AudioNetwork, TextNetwork
from pipeline.networks.htsat import Htsat, HtsatShape, projection_layout, published_layout, without_memory
from pipeline.networks.log_mel import MelScale

ROBERTA_BASE: dict[str, Any] = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
"""How hub id `roberta-base` differs from the defaults of `RobertaConfig`."""

SIZES = {
    "HTSAT-base": (128, (2, 2, 12, 2), (4, 8, 16, 32)),
    "HTSAT-large": (256, (2, 2, 12, 2), (4, 8, 16, 32)),
    "HTSAT-tiny": (96, (2, 2, 6, 2), (4, 8, 16, 32)),
    "HTSAT-tiny-win-1536": (96, (2, 2, 6, 2), (4, 8, 16, 32)),
}
"""Width, depths and heads of the audio models, by the package's names."""

DIM, TEXT_FEATURES, CLIP_SAMPLES = 512, 768, 480_000
AUDIO, TEXT = "audio_branch.", "text_branch."


def load_audio(checkpoint: Path, amodel: str, fusion: bool, text_folder: Path | None) -> AudioNetwork:
    """The audio half of a checkpoint, all of whose keys have to fit.

    Args:
        checkpoint: a published file, `{'epoch', 'state_dict': {'module.…'}}`, or a bare state dict.
        amodel: an HTSAT of the package, such as `HTSAT-tiny`.
        fusion: the checkpoint has the fusion layers of type `aff_2d`.
        text_folder: holds `config.json` of the text branch; that of `roberta-base` if None.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_checkpoint(checkpoint, amodel, fusion, text_config(text_folder), unused=TEXT)
    scale = mel_scale(amodel, fusion)
    filters = weights[f"{AUDIO}logmel_extractor.melW"]
    if not fusion and not torch.allclose(filters, scale.filters(), rtol=0, atol=1e-5):
        raise CheckpointError(f"{checkpoint} was trained on another mel scale than that of {amodel}: {scale}")
    shape = audio_shape(amodel, fusion)
    htsat = Htsat(shape, {key: value.clone() for key, value in _part(weights, AUDIO).items()})  # not mapped
    return AudioNetwork(htsat, _projection("audio_projection", weights), scale, CLIP_SAMPLES)


def load_text(checkpoint: Path, amodel: str, fusion: bool, config: RobertaConfig) -> TextNetwork:
    """The same for the text half.

    Args:
        checkpoint: as for `load_audio`.
        amodel: as for `load_audio`.
        fusion: as for `load_audio`.
        config: of the text branch, from `text_config`.
    """
    weights = read_checkpoint(checkpoint, amodel, fusion, config, unused=AUDIO)
    with no_init_weights():
        branch = RobertaModel(config)
    branch.load_state_dict(_part(weights, TEXT))
    return TextNetwork(branch.eval(), _projection("text_projection", weights))


def read_checkpoint(
    checkpoint: Path, amodel: str, fusion: bool, config: RobertaConfig, *, unused: str
) -> dict[str, Tensor]:
    """The weights of a checkpoint, every name and shape checked, without those of a branch.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(checkpoint)
    drop_position_ids(weights, checkpoint)
    architecture = f"LAION-CLAP {amodel} {'with' if fusion else 'without'} fusion"
    check_fit(layout(amodel, fusion, config), weights, checkpoint, architecture)
    used = {key: value for key, value in weights.items() if not key.startswith(unused)}
    check_numbers(used, checkpoint)
    return used


def layout(amodel: str, fusion: bool, config: RobertaConfig) -> dict[str, Tensor]:
    """Every key of a checkpoint, with tensors that have a shape but no memory.

    Raises:
        CheckpointError: the package has no such model.
    """
    shape, scale = audio_shape(amodel, fusion), mel_scale(amodel, fusion)
    frequencies = scale.window_size // 2 + 1
    shapes: dict[str, tuple[int, ...]] = {"logit_scale_a": (), "logit_scale_t": ()}
    for part in ("real", "imag"):
        name = f"{AUDIO}spectrogram_extractor.stft.conv_{part}.weight"
        shapes[name] = (frequencies, 1, scale.window_size)
    shapes[f"{AUDIO}logmel_extractor.melW"] = (frequencies, scale.mel_bins)
    shapes |= {f"{AUDIO}{name}": size for name, size in published_layout(shape)}
    with torch.device("meta"):
        shapes |= {f"{TEXT}{name}": tuple(value.shape) for name, value in RobertaModel(config).state_dict().items()}
    for branch, features in (("audio", shape.features), ("text", TEXT_FEATURES)):
        shapes |= dict(projection_layout(f"{branch}_projection", features, DIM))
        for layer in ("0", "3"):
            name = f"{branch}_transform.sequential.{layer}"
            shapes |= {f"{name}.weight": (DIM, DIM), f"{name}.bias": (DIM,)}
    return without_memory(shapes)


def audio_shape(amodel: str, fusion: bool) -> HtsatShape:
    """The size of an audio model.

    Raises:
        CheckpointError: the package has no such model.
    """
    if amodel not in SIZES:
        raise CheckpointError(f"laion_clap has no HTSAT named {amodel!r}; it has {', '.join(sorted(SIZES))}")
    return HtsatShape(*SIZES[amodel], fusion)


def mel_scale(amodel: str, fusion: bool) -> MelScale:
    """The spectrograms that an audio model was trained on."""
    return MelScale(window_size=1536 if amodel == "HTSAT-tiny-win-1536" else 1024, slaney=not fusion)


def text_config(folder: Path | None, layer_norm_eps: float | None = None) -> RobertaConfig:
    """Configuration of the text branch from a folder's `config.json`, or that of `roberta-base`.

    Args:
        folder: holds `config.json`.
        layer_norm_eps: replaces that of the file.

    Raises:
        CheckpointError: the folder has none, or not one of RoBERTa.
    """
    changes = {} if layer_norm_eps is None else {"layer_norm_eps": layer_norm_eps}
    if folder is None:
        return RobertaConfig(**{**ROBERTA_BASE, **changes})
    file = folder / "config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        kind = settings.get("model_type", "roberta")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}, which describes the text branch, cannot be read: {error}") from error
    if kind != "roberta":
        raise CheckpointError(f"{file} describes a model of type {kind!r}: the text branch is a RoBERTa")
    return RobertaConfig.from_pretrained(folder, local_files_only=True, **changes)


def _projection(name: str, weights: dict[str, Tensor]) -> nn.Sequential:
    first, last = (torch.nn.utils.skip_init(nn.Linear, *reversed(weights[f"{name}.{i}.weight"].shape)) for i in (0, 2))
    projection = nn.Sequential(first, nn.ReLU(), last)
    projection.load_state_dict(_part(weights, f"{name}."))
    return projection


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
