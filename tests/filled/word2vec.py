"""The encoder family `word2vec` with a small file in word2vec's binary format."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.embed.encoders.word2vec import ENCODER, Config, Word2Vec

WORDS = ("the", "The", "man's", "opens", "fridge", "é_1", "in", "</s>", "opens")
"""The last one is there twice: only the first counts."""


def vectors(dim: int) -> np.ndarray:
    """The vectors of `WORDS`, float32."""
    return np.random.default_rng(5).standard_normal((len(WORDS), dim)).astype("<f4")


def write_vectors(
    path: Path, dim: int = 300, line_feeds: bool = False, words: Sequence[str] = WORDS, rows: np.ndarray | None = None
) -> Path:
    """Writes them, or others, as word2vec does, with or without the line feed that some versions put after a vector."""
    rows = vectors(dim) if rows is None else rows.astype("<f4")
    entries = [
        word.encode() + b" " + vector.tobytes() + b"\n" * line_feeds for word, vector in zip(words, rows, strict=True)
    ]
    path.write_bytes(f"{len(words)} {rows.shape[1]}\n".encode() + b"".join(entries))
    return path


def encoder(folder: Path, **options: object) -> Word2Vec:
    """The encoder with its vectors in the folder, where they are written if not there."""
    path = folder / "vectors.bin"
    if not path.exists():
        write_vectors(path)
    return ENCODER(Config(family="word2vec", checkpoint=path, **options))
