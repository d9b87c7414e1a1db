"""Names of the last version and of this one: keys of YAML files, encoders, and paths of outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.config.experiments import RENAMED_ENCODERS

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


EARLIER_PATHS = {
    **{f"features/{name}": name for name in FEATURE_ENCODERS},
    **{new: old for old, new in RENAMED_ENCODERS.items()},
}
"""Folder of an encoder's outputs -> its folder in the last version."""
