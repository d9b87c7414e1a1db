"""LAION-CLAP checkpoints of the real architecture, filled with known weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from filled import roberta_files
from parity.fill import fill_array

from pipeline.networks import laion_clap, laion_clap_package
from stages.embed.encoders.laion_clap import ENCODER, Config, LaionClap


def encoder(
    folder: Path, *, amodel: str = "HTSAT-tiny", fusion: bool = True, small_text: bool = False, **options: object
) -> LaionClap:
    """The family over a checkpoint in a folder, which is written if it is not there yet.

    Args:
        folder: for the checkpoint and the tokenizer.
        amodel: audio model of the package.
        fusion: with the layers of feature fusion.
        small_text: with a text branch of one layer; that of the official file otherwise.
        **options: of the family.
    """
    text = folder / ("small-roberta" if small_text else "roberta-base")
    if not text.is_dir():
        roberta_files.write(text, **(roberta_files.SMALL if small_text else {}))
    path = folder / f"{amodel}-{'fusion' if fusion else 'crop'}-{text.name}.pt"
    if not path.is_file():
        write(path, weights(amodel, fusion, text))
    config = Config(family="laion-clap", checkpoint=path, amodel=amodel, fusion=fusion, text_model=str(text), **options)
    return ENCODER(config)


def weights(amodel: str, fusion: bool, text: Path) -> dict[str, torch.Tensor]:
    """A state dict under official names: filled parameters, and buffers as the package makes them."""
    built = laion_clap_package.build(amodel, fusion, laion_clap.text_config(text), text_is_wanted=False).state_dict()
    return {key: filled(key, value) for key, value in built.items()}


def filled(key: str, value: torch.Tensor) -> torch.Tensor:
    """The known value of a parameter of that name and shape; a buffer stays as it is."""
    known = None if "stft." in key or not value.is_floating_point() else fill_array(key, value.shape)
    return value if known is None else torch.from_numpy(known)


def write(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Writes a file as the published ones are: wrapped, prefixed, and with position ids."""
    ids = torch.arange(514)[None]
    wrapped = {f"module.{key}": value for key, value in {**state, "text_branch.embeddings.position_ids": ids}.items()}
    torch.save({"epoch": 7, "name": "filled", "best": np.float64(0.5), "state_dict": wrapped}, path)
