"""The entries of params.yaml that a corpus's experiments need: features, trainings, embeddings and experiments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.corpus import CorpusConfig, load_corpus
from pipeline.config.experiment import ExperimentConfig
from pipeline.config.named import CONFIGS
from pipeline.config.params import Featured, FeaturedText, config_of, training_of
from pipeline.config.records import read_yaml
from pipeline.formats.avlnet_pickles import FEATURES
from pipeline.params_file import embedding_entries, experiment_entries, subset_entries
from stages.add.lacking import is_avlnet
from stages.embed.encoders.avlnet import load_avlnet_config
from stages.train.config import load_training

Entries = dict[str, dict[str, str]]


def wired(
    corpus: str, place: Mapping[str, str], chosen: Mapping[str, ExperimentConfig], subsets: list[str], published: bool
) -> dict[str, Entries]:
    """Section -> name -> entry, for a corpus with some of its experiments.

    Args:
        corpus: name.
        place: its entry under `corpora`.
        chosen: experiments by name.
        subsets: names of its subsets.
        published: whether its features are imported instead of computed.
    """
    encoders = list(dict.fromkeys(one for config in chosen.values() for one in config.encoders))
    direct = [one for one in encoders if not is_avlnet(one)]
    sections: dict[str, Entries] = {
        "trainings": {},
        "text_trainings": {},
        "avlnets": {},
        "text_avlnets": {},
        "imports": {},
    }
    for encoder in encoders:
        if is_avlnet(encoder):
            direct += _add_avlnet(corpus, encoder, sections)
    if published:
        if sections["avlnets"] or sections["text_avlnets"]:
            sections["imports"][corpus] = {"corpus": corpus, "annotations": place["annotations"]}
        direct = [one for one in direct if one not in FEATURES]
    config = load_corpus(corpus)
    levelled = any(is_by_level(CONFIGS / "subsets" / corpus / f"{one}.yaml", config) for one in subsets)
    measured = {"levels": {corpus: {"corpus": corpus}}} if levelled else {}
    return {
        "corpora": {corpus: dict(place)},
        **measured,
        "embeddings": embedding_entries(corpus, direct),
        **sections,
        **experiment_entries(chosen),
        "subsets": subset_entries(corpus, subsets),
    }


def is_by_level(subset: Path, corpus: CorpusConfig) -> bool:
    """Whether a subset, by its YAML, needs the levels of the clips."""
    annotated = read_yaml(subset).get("annotated")
    return annotated in ("audible", "silent") and annotated not in corpus.files.subsets


def file_trainings(corpus: str, names: list[str], features: str) -> dict[str, Entries]:
    """The same for trainings on files of whole videos, which need no tables.

    Args:
        corpus: folder in `configs/trainings/`.
        names: of its trainings.
        features: folder of the feature files.
    """
    entries = {}
    for name in names:
        files = load_training(name).files
        assert files is not None  # told apart by `command`
        entries[name] = {"corpus": corpus, "paths": files.paths.as_posix(), "features": features}
    return {"file_trainings": entries}


def _add_avlnet(corpus: str, encoder: str, sections: dict[str, Entries]) -> list[str]:
    """Adds an embedding by an AVLnet, and the training that makes its weights; the features that both read."""
    config = load_avlnet_config(corpus, encoder)
    names = dict(sound=config.audio, flat=config.features_2d, moving=config.features_3d)
    fields = names if config.text is None else {**names, "words": config.text}
    fields |= {"checkpoint": config.checkpoint.as_posix()}
    entry = {"corpus": corpus, "encoder": encoder, "config": config_of(encoder), **fields}
    features = list(names.values()) if config.text is None else [*names.values(), config.text]
    training = training_of(encoder)
    name = f"{corpus}-{encoder}"
    if training is not None:
        name = training if training.startswith(f"{corpus}-") else f"{corpus}-{training}"
        features += _add_training(training, sections)
    sections["avlnets" if config.text is None else "text_avlnets"][name] = entry
    return features


def _add_training(name: str, sections: dict[str, Entries]) -> list[str]:
    config = load_training(name)
    if config.files is not None:
        return []
    kind: type[Featured] = Featured if config.words is None else FeaturedText
    entry = {field: getattr(config, field) for field in kind.model_fields}
    sections["trainings" if config.words is None else "text_trainings"][name] = entry
    return _features(config)


def _features(config: Any) -> list[str]:
    """Encoders whose cached rows an AVLnet is given."""
    words = [] if config.words is None else [config.words]
    return [config.sound, config.flat, config.moving, *words]
