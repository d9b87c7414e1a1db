"""What encoders made of a classifier and MiniLM share: ConSE for clips, MiniLM itself for captions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from stages.embed.encoder import Encoder, EncoderConfig
from stages.embed.models.minilm_files import minilm_files
from stages.embed.models.towers import ClassifierTower, TextTower
from stages.embed.models.wheel_files import verify_sha256

if TYPE_CHECKING:
    import torch
    from torch import nn

VERSION = 1  # raise it when a change of this code changes rows


class ConseConfig(EncoderConfig):
    """Options of the YAML; each family adds the digests of its classifier's files.

    Attributes:
        top_k: classes that count towards a clip.
        minilm_sha256: digest of MiniLM's `model.safetensors`.
    """

    top_k: int = 10
    minilm_sha256: str


class Classifier(NamedTuple):
    """A loaded classifier.

    Attributes:
        prepare: one clip's samples or frames to the array that the network takes.
        scores: arrays of several clips to (clips, classes) scores.
        class_names: one per class.
        network: what `scores` calls.
    """

    prepare: Callable[[Any], np.ndarray]
    scores: Callable[[Sequence[np.ndarray]], np.ndarray]
    class_names: list[str]
    network: nn.Module


C = TypeVar("C", bound=ConseConfig)


class ConseEncoder(Encoder[C]):
    """A clip is the score-weighted mean of the sentence embeddings of its best class names (ConSE, 1312.5650).

    Attributes:
        combination: how scores become a row, in words; part of the fingerprint.
    """

    dim = 384
    combination: str

    @abstractmethod
    def classifier_files(self) -> Mapping[str, Path]:
        """Files of the classifier, by name."""

    @abstractmethod
    def load_classifier(self, device: torch.device) -> Classifier:
        """The classifier on the device, its files verified."""

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {
            "version": VERSION,
            "combination": self.combination,
            "top_k": self.config.top_k,
            **self.classifier_files(),
            **minilm_files(),
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        return {"version": VERSION, **minilm_files()}

    def load_clip_tower(self, device: torch.device) -> ClassifierTower:
        """The classifier on the device, with the class names embedded."""
        from stages.embed.models.minilm import MiniLM

        classifier = self.load_classifier(device)
        class_vectors = MiniLM(self._minilm_folder()).encode_list(classifier.class_names)
        return ClassifierTower(
            classifier.prepare, classifier.scores, class_vectors, self.config.top_k, [classifier.network]
        )

    def load_caption_tower(self, device: torch.device) -> TextTower:
        """MiniLM on the device."""
        from stages.embed.models.minilm import MiniLM

        model = MiniLM(self._minilm_folder(), device)
        return TextTower(model.encode, [model.network])

    def _minilm_folder(self) -> Path:
        weights = minilm_files()["model.safetensors"]
        verify_sha256(weights, self.config.minilm_sha256, "minilm_sha256")
        return weights.parent
