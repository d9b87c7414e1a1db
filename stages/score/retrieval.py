"""Two sides whose rows belong together in pairs, compared in memory or, where they are too many, block by block."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.monitor.device import DEVICE_VARIABLE, pick_device
from stages.score import examples
from stages.score.at_scale.products import FAST, Multiplier
from stages.score.at_scale.retrieval import LargeRetrieval
from stages.score.at_scale.sides import Measure, Side
from stages.score.at_scale.walk import Steps
from stages.score.memory import matrix_bytes, score_memory, too_large
from stages.score.pairs import Pairs
from stages.score.similarity import cosine, dot_product, finite, fuse


class MatrixRetrieval:
    """All similarities in memory.

    Attributes:
        sims: (queries, items).
        right: (queries, items), True where they belong together.
    """

    def __init__(self, queries: Side, items: Side, measure: Measure, pairs: Pairs) -> None:
        product = cosine if measure.cosine else dot_product
        both = zip(queries.read(slice(None)), items.read(slice(None)), strict=True)
        sims = [product(left, right) for left, right in both]
        self.sims = sims[0] if len(sims) == 1 else fuse(sims, measure.weights)
        finite(self.sims[pairs.queries, pairs.items])
        self.right = np.zeros(self.sims.shape, bool)
        self.right[pairs.queries, pairs.items] = True

    def best_and_worst(
        self, ranks: NDArray[np.float64], texts: Sequence[str], item_ids: Sequence[str]
    ) -> list[dict[str, Any]]:
        """See `examples.best_and_worst`; `ranks` are of all queries."""
        return examples.best_and_worst(self.sims, self.right, np.arange(len(ranks)), ranks, texts, item_ids)

    def heatmap(self, texts: Sequence[str], item_ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        """See `examples.heatmap`."""
        return examples.heatmap(self.sims, self.right, texts, item_ids)


def open_retrieval(
    queries: Side, items: Side, measure: Measure, pairs: Pairs, transform: str = "none"
) -> MatrixRetrieval | LargeRetrieval:
    """Compares in memory if the matrix fits there; the numbers are the same either way.

    Args:
        queries: one side, each row of which is in a pair.
        items: the other.
        measure: how they are compared.
        pairs: which of them belong together.
        transform: of the similarities, which takes the whole matrix.

    Raises:
        UserError: a transform does not fit into memory, an embedding cache is damaged, or its numbers are too large.
    """
    memory, needed = score_memory(), matrix_bytes(len(queries), len(items), queries.dim)
    if needed <= memory:
        return MatrixRetrieval(queries, items, measure, pairs)
    if transform != "none":
        raise too_large(f"Transform {transform!r}", len(queries), len(items), needed, memory)
    return LargeRetrieval(queries, items, measure, pairs, _multiplier(), Steps.within(memory, queries.dim))


def _multiplier() -> Multiplier:
    """numpy, unless another device is asked for by name: torch takes longer to load than most scoring takes."""
    name = os.environ.get(DEVICE_VARIABLE, "cpu")
    return FAST if name == "cpu" else Multiplier(str(pick_device(name)))
