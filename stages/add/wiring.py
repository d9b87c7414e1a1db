"""The entries of params.yaml that a corpus's experiments need: features, trainings, embeddings, labels and subsets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.config import layout
from pipeline.config.corpus import CorpusConfig, load_corpus
from pipeline.config.experiments import ALL, ExperimentConfig
from pipeline.config.params import (
    FEATURES,
    LABELLERS,
    Entry,
    embedding_entry,
    embedding_key,
    subset_entries,
    training_of,
)
from pipeline.config.records import CONFIGS, read_yaml
from pipeline.config.subsets import write_all_subset
from pipeline.formats.avlnet_pickles import FEATURES as PUBLISHED
from stages.embed.encoder import FrameInput, FrameRate, items_of
from stages.embed.encoders.avlnet import load_avlnet_config
from stages.embed.registry import is_avlnet, load_encoder
from stages.train.config import TrainingConfig, load_training

Entries = dict[str, Entry]


def wired(
    corpus: str, place: Mapping[str, str], chosen: Iterable[ExperimentConfig], subsets: list[str], published: bool
) -> dict[str, Entries]:
    """Section -> name -> entry, for a corpus with some of its experiments.

    Args:
        corpus: name.
        place: its entry under `corpora`.
        chosen: experiments.
        subsets: names of its subsets.
        published: whether its features are imported instead of computed.
    """
    encoders = list(dict.fromkeys(one for experiment in chosen for one in experiment.encoders))
    features: list[str] = []
    trainings: Entries = {}
    for encoder in encoders:
        if (training := training_of(encoder)) is not None:
            config = load_training(training)
            trainings[training] = training_entry(config, None)
            features += features_of(config)
        elif is_avlnet(encoder):
            features += features_of(load_avlnet_config(corpus, encoder))
    imports = {corpus: {"corpus": corpus, "annotations": place["annotations"]}} if published and features else {}
    imported = [f"{FEATURES}{one}" for one in PUBLISHED] if imports else []
    embedded = [one for one in dict.fromkeys([*features, *map(layout.embedded_as, encoders)]) if one not in imported]
    settings = load_corpus(corpus)
    levelled = any(is_by_level(corpus, subset, settings) for subset in subsets)
    return {
        "corpora": {corpus: dict(place)},
        "imports": imports,
        "labels": {f"{corpus}-levels": label_entry(corpus, "levels")} if levelled else {},
        "trainings": trainings,
        "embeddings": {embedding_key(corpus, one): embedding_entry(corpus, one, reads_of(one)) for one in embedded},
        "subsets": subset_entries(corpus, subsets),
    }


def reads_of(encoder: str) -> str:
    """What an encoder is given: `audio`, `frames`, `captions` or `features`."""
    if is_avlnet(encoder):
        return "features"
    model = load_encoder(encoder)
    inputs = [model.input_of(tower) for tower in model.towers if items_of(tower) == "clips"]
    if not inputs:
        return "captions"
    return "frames" if all(isinstance(one, FrameInput | FrameRate) for one in inputs) else "audio"


def label_entry(corpus: str, label: str) -> Entry:
    """An entry of `labels`."""
    return {"corpus": corpus, "label": label, "encoder": LABELLERS[label]}


def training_entry(config: TrainingConfig, features: str | None) -> Entry:
    """An entry of `trainings`.

    Args:
        config: of the training.
        features: folder of the feature files, for a training on them.
    """
    tables = layout.table(config.corpus, "clips").parent.as_posix()
    if config.files is None:
        return {"corpus": config.corpus, "reads": [tables, layout.features(config.corpus).as_posix()]}
    paths = config.files.paths.as_posix()
    reads = [paths, tables if config.evaluate_on else paths]
    return {"corpus": config.corpus, "reads": reads, "features": features or config.files.features.as_posix()}


def file_trainings(names: list[str], features: str) -> dict[str, Entries]:
    """The entries of trainings on files of whole videos, which need no tables.

    Args:
        names: of the trainings.
        features: folder of the feature files.
    """
    return {"trainings": {name: training_entry(load_training(name), features) for name in names}}


def subsets_of(corpus: str) -> list[str]:
    """The subsets of a corpus, `all` first; writes the file of `all` if there is none."""
    folder = CONFIGS / "subsets" / corpus
    write_all_subset(corpus)
    return [ALL, *sorted(path.stem for path in folder.glob("*.yaml") if path.stem != ALL)]


def is_by_level(corpus: str, subset: str, settings: CorpusConfig) -> bool:
    """Whether a subset needs the levels of the clips."""
    annotated = read_yaml(CONFIGS / "subsets" / corpus / f"{subset}.yaml").get("annotated")
    return annotated in ("audible", "silent") and annotated not in settings.files.subsets


def features_of(config: Any) -> list[str]:
    """Encoders whose cached rows an AVLnet or its training is given."""
    names = ("audio", "features_2d", "features_3d", "text")
    return [one for name in names if (one := getattr(config, name)) is not None]
