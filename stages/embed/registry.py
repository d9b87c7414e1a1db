"""Encoders by name: a YAML under `configs/encoders/` and a module under `stages/embed/encoders/`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.errors import UserError
from pipeline.config.params import config_of, seed_of, training_of
from pipeline.config.records import named, read_yaml, validate
from pipeline.console.text import did_you_mean
from stages.embed.encoder import Encoder

FAMILIES = Path(__file__).parent / "encoders"
AVLNET = "avlnet"
"""Family of the encoders that are given cached features; see `stages/embed/features.py`."""


def is_avlnet(name: str) -> bool:
    """Whether a name is that of an AVLnet: one with the weights of a training, or a YAML of that family.

    Raises:
        UserError: no such encoder.
    """
    return training_of(name) is not None or read_yaml(named("encoders", config_of(name))).get("family") == AVLNET


def load_encoder(name: str, overrides: Mapping[str, Any] | None = None) -> Encoder:
    """The encoder that `configs/encoders/<name>.yaml` describes; no weights are loaded.

    Args:
        name: file name without suffix; `NAME@seedN` for its options with another seed.
        overrides: options that replace those of the YAML.

    Raises:
        UserError: no such encoder, family or option.
    """
    path, seed = named("encoders", config_of(name)), seed_of(name)
    overrides = {**({} if seed is None else {"seed": seed}), **(overrides or {})}
    options = read_yaml(path)
    family = str(options.get("family", "")).replace("-", "_")
    known = [module.stem for module in FAMILIES.glob("*.py") if module.stem not in ("__init__", AVLNET)]
    if family == AVLNET:
        raise UserError(
            f"{path} is an AVLnet, which is given cached features, not media or text: use `hearonce embed`."
        )
    if family not in known:
        names = [module.replace("_", "-") for module in known]
        raise UserError(f"{path}: no encoder family {options.get('family')!r}, {did_you_mean(family, names)}")
    module = importlib.import_module(f"stages.embed.encoders.{family}")
    encoder_class: type[Encoder] | None = getattr(module, "ENCODER", None)
    if encoder_class is None:
        raise UserError(f"{module.__file__} names no encoder: end it with `ENCODER = ` and its subclass of Encoder.")
    fields = encoder_class.config_class.model_fields
    for option in overrides:
        if option not in fields:
            raise UserError(f"Encoder {name!r} has no option {option!r}; its options: {', '.join(sorted(fields))}.")
    return encoder_class(validate({**options, **overrides}, encoder_class.config_class, path))
