"""`params.yaml` of the last version -> that of this one, comments kept; former names of keys, encoders and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cache.errors import UserError
from pipeline.config.experiments import RENAMED_ENCODERS
from pipeline.config.params import (
    FEATURES,
    FORMER,
    LABELLERS,
    PARAMS,
    Params,
    config_of,
    embedding_entry,
    on_one_line,
    training_of,
)
from pipeline.config.records import validate
from pipeline.console.text import did_you_mean

FEATURE_ENCODERS = ("avlnet-spectrogram", "resnet152", "resnext101-3d", "word2vec")
"""Encoders whose YAMLs and outputs lie below `features/`, unless the project says more."""
AVLNET_KEYS = {
    "sound": "audio",
    "flat": "features_2d",
    "moving": "features_3d",
    "words": "text",
    "sound_widths": "audio_widths",
}
"""Keys of an AVLnet's YAML and of `configs/trainings/`."""
TRAINING_FILES_KEYS = {"sounds": "audio"}
"""Keys below `files` of `configs/trainings/CORPUS/NAME.yaml`."""
CORPUS_KEYS = {"sound": "audio", "picture": "frames"}
"""Keys below `files` of `configs/corpora/NAME.yaml`."""


def encoder_name(name: str, features: frozenset[str]) -> str:
    """The name of an encoder in this version.

    Args:
        name: in the last one.
        features: encoders of features that networks of the project are given.
    """
    if name in features:
        return f"features/{name}"
    return RENAMED_ENCODERS.get(name, name)


def moved_outputs(data: Path, features: frozenset[str]) -> Iterator[tuple[Path, Path]]:
    """Outputs of the last version that have another path in this one: (old, new), both below `data`."""
    for corpus in sorted(path for path in (data / "embeddings").glob("*") if path.is_dir()):
        for path in sorted(path for path in corpus.iterdir() if path.is_dir()):
            new = encoder_name(path.name, features)
            if new != path.name:
                yield path, corpus / new


LISTS = {
    "labels": "\n# Clips labelled for subsets: by speech (`speech`, `sounds`) or by level (`audible`, `silent`).\n",
    "search": "\n# Maps for the search page, and indexes for search beyond 100,000 clips (`make: index`).\n",
    "subsets": "\n# Subsets on which all experiments of a corpus are scored; `all` has every clip.\n",
}
FEATURE_SLOTS = ("sound", "flat", "moving", "words")

Reads = Callable[[str], str]
"""Encoder, in its new name -> what it is given: `audio`, `frames`, `captions` or `features`."""


def features_of(data: Mapping[str, Any]) -> frozenset[str]:
    """Encoders of features that the trainings and AVLnets of a `params.yaml` of the last version are given."""
    found = set(FEATURE_ENCODERS)
    for section in ("trainings", "text_trainings", "avlnets", "text_avlnets"):
        for entry in (data.get(section) or {}).values():
            found |= {entry[slot] for slot in FEATURE_SLOTS if slot in entry}
    return frozenset(found)


def migrated(data: Any, reads: Reads) -> list[str]:
    """Changes a `params.yaml` of the last version, read with its comments.

    Args:
        data: is changed.
        reads: says what an encoder is given.

    Returns:
        What has changed, a line each.

    Raises:
        UserError: what stands there is of neither version.
    """
    known = {*Params.model_fields, *FORMER}
    if unknown := [section for section in data if section not in known]:
        raise UserError(f"{PARAMS}: unknown key {unknown[0]!r}, {did_you_mean(unknown[0], known)}")
    lines: list[str] = []
    features = features_of(data)
    experiments = {
        **(data.get("experiments") or {}),
        **(data.get("fusions") or {}),
        **_section(data, "avlnet_experiments"),
    }
    embeddings = _embeddings(data, features, reads, lines)
    trainings = _trainings(data, lines)
    labels = _labels(data, lines)
    corpora = dict.fromkeys(entry["corpus"] for entry in experiments.values())
    subsets = _section(data, "subsets")
    wholes = {f"{corpus}-all": {"corpus": corpus, "subset": "all"} for corpus in corpora}
    wholes = {key: one for key, one in wholes.items() if one not in list(subsets.values())}
    lines += [f"subsets.{key}: the whole corpus, on which experiments were scored" for key in wholes]
    for section in [*FORMER, "labels", "trainings"]:
        data.pop(section, None)
    lines += ["experiments, fusions, avlnet_experiments: gone; configs/experiments/CORPUS/ says what is scored"] * bool(
        experiments
    )
    for section in ("descriptions", "imports", "search"):
        data.setdefault(section, {})
    data["labels"] = labels
    data["trainings"] = {name: on_one_line(entry) for name, entry in trainings.items()}
    _replace(data, "embeddings", embeddings)
    _replace(data, "subsets", {**wholes, **subsets})
    validate(data, Params, PARAMS)
    return lines


def _section(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    return dict(data.get(name) or {})


def _replace(data: Any, section: str, entries: Mapping[str, Any]) -> None:
    """New entries of a section, with the comments of those that stay."""
    from ruamel.yaml.comments import CommentedMap

    there = data.get(section)
    if not isinstance(there, CommentedMap) or there.fa.flow_style():
        there = CommentedMap()
    for key in [key for key in there if key not in entries]:
        del there[key]
    for key, entry in entries.items():
        if there.get(key) != entry:
            there[key] = on_one_line(entry)
    data[section] = there


def _embeddings(data: Any, features: frozenset[str], reads: Reads, lines: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, entry in _section(data, "embeddings").items():
        encoder = encoder_name(entry["encoder"], features)
        given = "captions" if encoder == f"{FEATURES}word2vec" else reads(encoder)
        made[key] = embedding_entry(entry["corpus"], encoder, given)
        renamed = "" if encoder == entry["encoder"] else f" {entry['encoder']} is renamed to {encoder};"
        lines.append(f"embeddings.{key}:{renamed} names what it reads")
    for section in ("avlnets", "text_avlnets"):
        for key, entry in _section(data, section).items():
            encoder = avlnet_name(entry)
            made[key] = embedding_entry(entry["corpus"], encoder, "features")
            lines.append(f"embeddings.{key}: {encoder}, from `{section}`")
    return made


def avlnet_name(entry: Mapping[str, Any]) -> str:
    """The name of an AVLnet: with the training whose weights it has, if a training makes them.

    Args:
        entry: of `avlnets` or `text_avlnets` in the last version.
    """
    parts = str(entry["checkpoint"]).split("/")
    trained = parts[2] if parts[:2] == ["data", "trainings"] and parts[-1] == "model.pth" else None
    encoder = str(entry["encoder"])
    if trained is None or training_of(encoder) == trained:
        return encoder
    return f"{config_of(str(entry.get('config') or encoder))}@{trained}"


def _trainings(data: Any, lines: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for section in ("trainings", "text_trainings"):
        for name, entry in _section(data, section).items():
            corpus = entry["corpus"]
            if "reads" in entry:
                made[name] = dict(entry)
                continue
            reads = [f"data/tables/{corpus}", f"data/embeddings/{corpus}/features"]
            made[name] = {"corpus": corpus, "reads": reads}
            lines.append(f"trainings.{name}: reads the folder of features, from `{section}`")
    for name, entry in _section(data, "file_trainings").items():
        paths = str(entry["paths"])
        made[name] = {"corpus": entry["corpus"], "reads": [paths, paths], "features": str(entry["features"])}
        lines.append(f"trainings.{name}: from `file_trainings`")
    return made


def _labels(data: Any, lines: list[str]) -> dict[str, Any]:
    made = {key: on_one_line(entry) for key, entry in _section(data, "labels").items()}
    for label in ("speech", "levels"):
        for entry in _section(data, label).values():
            key = f"{entry['corpus']}-{label}"
            rest = {name: value for name, value in entry.items() if name != "corpus"}
            made[key] = on_one_line({"corpus": entry["corpus"], "label": label, "encoder": LABELLERS[label], **rest})
            lines.append(f"labels.{key}: from `{label}`")
    return made
