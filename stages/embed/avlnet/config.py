"""`configs/encoders/NAME.yaml` of family `avlnet`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cache.errors import UserError
from pipeline import layout
from pipeline.config.experiment import load_experiment
from pipeline.config.named import named
from pipeline.config.params import PARAMS, AvlNetPlace, config_of, load_params, training_of
from pipeline.config.records import Settings, read_yaml, validate

FAMILY = "avlnet"


class AvlNetConfig(Settings):
    """An AVLnet and the features that it is given.

    Attributes:
        family: `avlnet`.
        checkpoint: weights as the authors publish them, or `model.pth` of a training; they say which variant it is.
        sound: encoder whose rows are log-mel spectrograms.
        flat: encoder of 2D picture features.
        moving: encoder of 3D picture features.
        words: encoder of word vectors, for AVLnet-Text.
        max_frames: spectrograms are padded or cut to so many frames; 5120 for YouCook2, 3072 for MSR-VTT.
        max_words: texts are padded or cut to so many words.
    """

    family: Literal["avlnet"]
    checkpoint: Path
    sound: str = "avlnet-spectrogram"
    flat: str = "resnet152"
    moving: str = "resnext101-3d"
    words: str | None = None
    max_frames: Annotated[int, Field(ge=16)] = 5120
    max_words: Annotated[int, Field(ge=1)] = 20


def load_avlnet_config(corpus: str, name: str) -> AvlNetConfig:
    """Reads the YAML of an encoder and checks that `params.yaml` feeds it what it reads.

    Args:
        corpus: which is embedded.
        name: of a YAML in `configs/encoders/`; `CONFIG@TRAINING` for the weights that a training makes; or that of an
            entry of `params.yaml` with a `config` and a `checkpoint` of its own.

    Raises:
        UserError: no such encoder, or it is of another family, or the two disagree.
    """
    where, wired = _wired(corpus, name)
    path = _file(name, wired)
    options: dict[str, Any] = read_yaml(path)
    if options.get("family") != FAMILY:
        raise UserError(
            f"{path} is of family {options.get('family')!r}, not {FAMILY!r}: list it under `embeddings` of {PARAMS}."
        )
    if path.stem != name:
        training = training_of(name)
        if wired is not None:
            options["checkpoint"] = wired.checkpoint
        elif training is not None:
            options["checkpoint"] = layout.training(training) / "model.pth"
    config = validate(options, AvlNetConfig, path)
    if wired is None:
        return config
    wanted = {
        "corpus": corpus,
        "encoder": name,
        "config": path.stem,
        **config.model_dump(mode="json", include=set(wired.reads())),
        "checkpoint": config.checkpoint.as_posix(),
    }
    there = {**wired.model_dump(mode="json"), "config": wired.options}
    if there != wanted or (config.words is not None) != ("words" in wanted):
        group = "avlnets" if config.words is None else "text_avlnets"
        raise UserError(f"{PARAMS} and {path} disagree: write `{where}: {wanted}` in `{group}`.")
    return config


def caption_sources(corpus: str, name: str) -> frozenset[str] | None:
    """Caption sources that the experiments of `params.yaml` on an embedding read; None where there is none."""
    read = [
        one for one, wired in load_params().all_experiments().items() if (wired.corpus, wired.encoder) == (corpus, name)
    ]
    return frozenset(source for one in read for source in load_experiment(one).sources()) or None


def encoder_file(corpus: str, name: str) -> Path:
    """The YAML of an embedding's encoder."""
    return _file(name, _wired(corpus, name)[1])


def _file(name: str, wired: AvlNetPlace | None) -> Path:
    return named("encoders", config_of(name) if wired is None else wired.options)


def _wired(corpus: str, name: str) -> tuple[str, AvlNetPlace | None]:
    """The entry of `params.yaml` for an embedding, and its key."""
    for where, one in load_params().all_avlnets().items():
        if (one.corpus, one.encoder) == (corpus, name):
            return where, one
    return "", None
