"""Protocol `paired-retrieval` on the tables of a corpus."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import ExperimentConfig
from pipeline.corpus_tables import read_extended
from stages.score import examples
from stages.score.inputs import NothingToScore, read_embedded
from stages.score.paired_retrieval import PairedRetrieval
from stages.score.scored import Scored
from stages.score.similarity import cosine, fuse


class PairedScorer:
    """Each caption is paired with one or more clips; both directions are ranked.

    Args:
        config: of the experiment.

    Raises:
        NothingToScore: nothing is paired.
        UserError: a table or an embedding cache cannot be read.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        embedded = read_embedded(config)
        self._clip_ids, self._caption_ids, self._texts = embedded.clip_ids, embedded.caption_ids, embedded.texts
        self.n_clips_missing = embedded.n_clips_missing
        pairs = [cosine(text, clip) for text, clip in zip(embedded.captions, embedded.clips, strict=True)]
        self._sims = fuse(pairs, config.weights)
        self._paired = self._read_pairs(config.corpus)
        self._retrieval = PairedRetrieval(self._sims, self._paired)

    def _read_pairs(self, corpus: str) -> NDArray[np.bool_]:
        paired = np.zeros(self._sims.shape, bool)
        row_of = {one: row for row, one in enumerate(self._caption_ids)}
        column_of = {one: column for column, one in enumerate(self._clip_ids)}
        for clip_id, caption_id in read_extended(corpus, "pairs").iter_rows():
            if clip_id in column_of and caption_id in row_of:
                paired[row_of[caption_id], column_of[clip_id]] = True
        if not paired.any():
            raise NothingToScore(f"No caption of {corpus!r} is paired with an embedded clip.")
        return paired

    def score(self, members: Collection[str] | None = None) -> dict[str, Scored]:
        """Scores the clips against the captions that are paired with any of them."""
        chosen = np.array([members is None or one in members for one in self._clip_ids])
        if not self._paired[:, chosen].any():
            raise NothingToScore("no clip of the subset is embedded and paired with a caption")
        ids = {"text_to_clip": self._caption_ids, "clip_to_text": self._clip_ids}
        return {
            direction: Scored(
                [ids[direction][query] for query in one.queries],
                one.ranks,
                one.average_precision,
                one.ndcg,
                one.n_relevant,
                one.n_items,
                one.values,
                one.chance,
            )
            for direction, one in self._retrieval.score(chosen).items()
        }

    def examples(self, directions: Mapping[str, Scored]) -> list[dict[str, Any]]:
        """Captions that found their clip first, and last."""
        scored = directions["text_to_clip"]
        row_of = {one: row for row, one in enumerate(self._caption_ids)}
        rows = np.array([row_of[one] for one in scored.query_ids], np.int64)
        return examples.best_and_worst(self._sims, self._paired, rows, scored.ranks, self._texts, self._clip_ids)

    def heatmap(self) -> dict[str, NDArray[Any]]:
        """A sample of the similarities, each caption on the row of its (first) clip."""
        return examples.heatmap(self._sims, self._paired, self._texts, self._clip_ids)
