"""Features of one kind as they are cached: read a row, or a part of one, at a time."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline.config import layout


class FeatureRows:
    """The rows over time that a feature encoder made of a corpus.

    Args:
        corpus: whose clips or captions.
        encoder: name of the feature encoder.
        modality: `clips` or `captions`.

    Attributes:
        dim: of a row at one time.
        fingerprint: of the encoder.

    Raises:
        UserError: the artifact is missing or damaged, or holds embeddings instead of features over time.
    """

    def __init__(self, corpus: str, encoder: str, modality: str) -> None:
        self._artifact = open_artifact(layout.embeddings(corpus, encoder, modality))
        if not self._artifact.format.ragged:
            raise UserError(
                f"{self._artifact.path} holds embeddings, not features over time: name a feature encoder instead."
            )
        self.dim = self._artifact.format.dim
        self.fingerprint = str(self._artifact.description.get("fingerprint"))
        self._row_of = {id: row for row, id in enumerate(self._artifact.ids)}

    def __contains__(self, id: str) -> bool:
        return id in self._row_of

    def __len__(self) -> int:
        return len(self._row_of)

    def length(self, id: str) -> int:
        """How many times a row has."""
        assert self._artifact.offsets is not None
        row = self._row_of[id]
        return int(self._artifact.offsets[row + 1] - self._artifact.offsets[row])

    def part(self, id: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """(times, dim), from time start to stop."""
        return self._artifact.part(self._row_of[id], start, stop)

    def key(self, id: str) -> bytes | None:
        """The row key; None where there is no row."""
        row = self._row_of.get(id)
        return None if row is None else self._artifact.keys[row].tobytes()
