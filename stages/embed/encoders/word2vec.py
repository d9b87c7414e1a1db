r"""Captions as the word2vec vectors of their words, as AVLnet-Text reads them: ragged rows, one vector a word.

Words are what `[\w']+` matches, in the caption's own case; those without a vector are left out. word2vec:
https://arxiv.org/abs/1310.4546.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from cache.rows import RowFormat
from pipeline.checkpoints.official import existing
from stages.embed.encoder import CaptionEncoder, EncoderConfig, Tower

if TYPE_CHECKING:
    import torch

    from pipeline.formats.word_vectors import WordVectors

VERSION = 1  # raise it when a change of this code changes rows


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        checkpoint: a file in word2vec's binary format, such as `GoogleNews-vectors-negative300.bin`. At its first use
            all of it is read once, to note in the store where each word is; later only the words that occur.
        dim: length of its vectors.
    """

    checkpoint: Path
    dim: Annotated[int, Field(ge=1)] = 300


class Word2Vec(CaptionEncoder[Config]):
    """Vectors of words that know nothing of each other."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.dim = config.dim

    def row_format(self, tower: str) -> RowFormat:
        """Ragged rows in single precision, as in the file."""
        return RowFormat(self.dim, ragged=True)

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        return {"version": VERSION, "checkpoint": existing(self.config.checkpoint)}

    def load_caption_tower(self, device: torch.device) -> Tower:
        """The file, mapped; vectors are looked up on the CPU."""
        from pipeline.formats.word_vectors import open_vectors

        return WordTower(open_vectors(self.config.checkpoint, self.dim))


class WordTower:
    """Captions through a file of word vectors.

    Args:
        vectors: the opened file.
    """

    def __init__(self, vectors: WordVectors) -> None:
        self._vectors = vectors

    def prepare(self, item: str, key: bytes) -> np.ndarray:
        """Float32 (words that have a vector, dim); nothing is drawn at random."""
        from pipeline.formats.word_vectors import words_of

        return self._vectors.of(words_of(item))

    def encode(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The rows as they are."""
        return list(batch)


ENCODER = Word2Vec
