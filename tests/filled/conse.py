"""The encoder `conse`: the packaged taggers, and a small sentence encoder that sentence-transformers wrote."""

from pathlib import Path

import yaml
from filled import sentence

from stages.embed.encoders.conse import ENCODER, Config, Conse

CHEAP = {"tagger": "efficientnet-lite0"}  # the contract takes YAMNet through ten minutes with `yamnet_minilm`
YAMLS = Path(__file__).parents[2] / "configs" / "encoders"


def encoder(folder: Path, *, tagger: str = "yamnet", **text: object) -> Conse:
    """A ready encoder over a folder that is written if it is not there yet."""
    own = folder / "sentence"
    if not own.is_dir():
        sentence.write(own)
    return of(own, tagger, dim=16, **text)


def of(model: Path | str, tagger: str = "yamnet", **text: object) -> Conse:
    """The encoder with the tagger of the YAMLs over a text model."""
    name = {"yamnet": "yamnet-e5", "efficientnet-lite0": "efficientnet-mpnet"}[tagger]
    own = yaml.safe_load((YAMLS / f"{name}.yaml").read_text())
    return ENCODER(Config(**{**own, "text": {"model": str(model), **text}}))
