"""Encoders by name: a YAML under `configs/encoders/` and a module under `stages/embed/encoders/`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.errors import UserError
from pipeline.config.named import named
from pipeline.config.records import read_yaml, validate
from pipeline.console.text import did_you_mean
from stages.embed.encoder import Encoder

FAMILIES = Path(__file__).parent / "encoders"
AVLNET = "avlnet"
"""Family of the encoders of `stages/embed/avlnet`."""


def load_encoder(name: str, overrides: Mapping[str, Any] | None = None) -> Encoder:
    """The encoder that `configs/encoders/<name>.yaml` describes; no weights are loaded.

    Args:
        name: file name without suffix.
        overrides: options that replace those of the YAML.

    Raises:
        UserError: no such encoder, family or option.
    """
    path = named("encoders", name)
    options = read_yaml(path)
    family = str(options.get("family", "")).replace("-", "_")
    known = [module.stem for module in FAMILIES.glob("*.py") if module.stem != "__init__"]
    if family == AVLNET:
        raise UserError(
            f"{path} is an AVLnet, which embeds cached features: in params.yaml list it under `avlnets`, not "
            "`embeddings`."
        )
    if family not in known:
        names = [module.replace("_", "-") for module in known]
        raise UserError(f"{path}: no encoder family {options.get('family')!r}, {did_you_mean(family, names)}")
    module = importlib.import_module(f"stages.embed.encoders.{family}")
    encoder_class: type[Encoder] | None = getattr(module, "ENCODER", None)
    if encoder_class is None:
        raise UserError(f"{module.__file__} names no encoder: end it with `ENCODER = ` and its subclass of Encoder.")
    fields = encoder_class.config_class.model_fields
    for option in overrides or {}:
        if option not in fields:
            raise UserError(f"Encoder {name!r} has no option {option!r}; its options: {', '.join(sorted(fields))}.")
    return encoder_class(validate({**options, **(overrides or {})}, encoder_class.config_class, path))
