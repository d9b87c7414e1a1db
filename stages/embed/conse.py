"""ConSE: a classifier's scores as a point in the space of its class names.

Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", ICLR 2014
(arXiv 1312.5650): the mean of the text embeddings of the k best classes, weighted by their scores.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from pipeline.checkpoints.wheels import minilm_files, verify_sha256
from stages.embed.encoder import Encoder, EncoderConfig

if TYPE_CHECKING:
    import torch
    from torch import nn


def combine(scores: np.ndarray, class_vectors: np.ndarray, top_k: int) -> np.ndarray:
    """Unit-length embeddings of items from their class scores.

    A row depends on its own scores only, bit for bit. Of equal scores the class listed first wins.
    Scores that are all zero say nothing: they count as equal scores of all classes.

    Args:
        scores: (n, classes), not negative.
        class_vectors: (classes, dim) text embeddings of the class names; their length is ignored.
        top_k: how many of the best classes count; all of them where there are fewer.

    Returns:
        (n, dim) float32.
    """
    if scores.ndim != 2 or scores.shape[1] != len(class_vectors):
        raise ValueError(f"scores of shape {scores.shape} do not fit {len(class_vectors)} classes")
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}, it must be at least 1")
    if not (np.isfinite(scores).all() and (scores >= 0).all()):
        raise ValueError("class scores must be finite and not negative")
    vectors = _unit(class_vectors.astype(np.float64))
    everything = _unit(vectors.mean(axis=0, keepdims=True))[0]
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    weights = np.take_along_axis(scores, best, axis=1).astype(np.float64)
    total = weights.sum(axis=1)
    embeddings = np.empty((len(scores), class_vectors.shape[1]))
    for row, classes in enumerate(best):
        embeddings[row] = everything if total[row] == 0 else (weights[row] / total[row]) @ vectors[classes]
    return _unit(embeddings).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float64).tiny)


class ClassifierTower:
    """Clips through a classifier and the names of its classes (ConSE).

    Args:
        prepare: one clip's decoded media to the array that the network takes; runs on CPU workers.
        scores: arrays of several clips to (clips, classes) scores; runs on the device.
        class_vectors: (classes, dim) text embeddings of the class names.
        top_k: how many of the best classes count.
        networks: what `scores` calls and torch.compile may compile.
    """

    def __init__(
        self,
        prepare: Callable[[Any], np.ndarray],
        scores: Callable[[Sequence[np.ndarray]], np.ndarray],
        class_vectors: np.ndarray,
        top_k: int,
        networks: Sequence[nn.Module] = (),
    ) -> None:
        self.networks = networks
        self._prepare = prepare
        self._scores = scores
        self._class_vectors = class_vectors
        self._top_k = top_k

    def prepare(self, item: Any, key: bytes) -> np.ndarray:
        """What the network takes of one clip; nothing is drawn at random, so that the row key plays no part."""
        return self._prepare(item)

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """(clips, dim) unit-length float32 rows of prepared clips."""
        return combine(self._scores(batch), self._class_vectors, self._top_k)


class TextTower:
    """Captions through a sentence encoder that tokenises by itself.

    Args:
        vectors: texts to (texts, dim) rows.
        networks: what `vectors` calls and torch.compile may compile.
    """

    def __init__(self, vectors: Callable[[Sequence[str]], np.ndarray], networks: Sequence[nn.Module] = ()) -> None:
        self.networks = networks
        self._vectors = vectors

    def prepare(self, item: str, key: bytes) -> str:
        """The text as it is."""
        return item

    def encode(self, batch: Sequence[str]) -> np.ndarray:
        """(captions, dim) unit-length float32 rows of texts."""
        return self._vectors(batch)


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
        from pipeline.networks.minilm import MiniLM

        classifier = self.load_classifier(device)
        class_vectors = MiniLM(self._minilm_folder()).encode_list(classifier.class_names)
        return ClassifierTower(
            classifier.prepare, classifier.scores, class_vectors, self.config.top_k, [classifier.network]
        )

    def load_caption_tower(self, device: torch.device) -> TextTower:
        """MiniLM on the device."""
        from pipeline.networks.minilm import MiniLM

        model = MiniLM(self._minilm_folder(), device)
        return TextTower(model.encode, [model.network])

    def _minilm_folder(self) -> Path:
        weights = minilm_files()["model.safetensors"]
        verify_sha256(weights, self.config.minilm_sha256, "minilm_sha256")
        return weights.parent
