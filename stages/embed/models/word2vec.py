"""Captions to the vectors of their words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.formats.word_vectors import WordVectors, words_of


class WordTower:
    """Captions through a file of word vectors.

    Args:
        vectors: the opened file.
    """

    def __init__(self, vectors: WordVectors) -> None:
        self._vectors = vectors

    def prepare(self, item: str, key: bytes) -> np.ndarray:
        """Float32 (words that have a vector, dim); nothing is drawn at random."""
        return self._vectors.of(words_of(item))

    def encode(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The rows as they are."""
        return list(batch)
