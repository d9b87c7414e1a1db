"""The two halves (prepare, encode) of encoders built from a classifier and a sentence encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.embed.models.conse import combine

if TYPE_CHECKING:
    from torch import nn


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
