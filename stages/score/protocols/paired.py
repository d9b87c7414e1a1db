"""Protocol `paired-retrieval` on the tables of a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.config.experiment import ExperimentConfig
from pipeline.corpus_tables import read_extended
from stages.score import examples, paired_retrieval
from stages.score.inputs import NothingToScore, read_embedded
from stages.score.scored import Queries, Scored, intervals
from stages.score.similarity import cosine, fuse
from stages.score.transforms import TRANSFORMS


class PairedScorer:
    """Each caption is paired with one or more clips; both directions are ranked.

    Args:
        config: of the experiment.

    Raises:
        NothingToScore: nothing is paired.
        UserError: a table or an embedding cache cannot be read, or two caption sources are named.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        if len(set(config.sources())) > 1:
            raise UserError(
                f"Protocol paired-retrieval ranks captions of one source, not of {' and '.join(config.sources())}: "
                "name one in `captions:`, or use protocol multi-instance, which joins them by clip."
            )
        embedded = read_embedded(config)
        captions = embedded.captions[config.sources()[0]]
        self._clip_ids, self._caption_ids, self._texts = embedded.clip_ids, captions.ids, captions.texts
        self.n_clips_missing = embedded.n_clips_missing
        self._transform = TRANSFORMS[config.transform]
        sims = [cosine(text, clip) for text, clip in zip(captions.rows, embedded.clips, strict=True)]
        self._sims = fuse(sims, config.weights)
        self._paired = self._read_pairs(config.corpus)

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

    def score(self, members: AbstractSet[str] | None = None) -> dict[str, Scored]:
        """Scores the clips against the captions that are paired with any of them."""
        clips = np.array([members is None or one in members for one in self._clip_ids])
        captions = self._paired[:, clips].any(axis=1)
        if not captions.any():
            raise NothingToScore("no clip of the subset is embedded and paired with a caption")
        chosen = np.ix_(captions, clips)
        ids = {
            "text_to_clip": [self._caption_ids[row] for row in np.flatnonzero(captions)],
            "clip_to_text": [self._clip_ids[column] for column in np.flatnonzero(clips)],
        }
        sims = self._transform(self._sims[chosen], np.ones(int(captions.sum()), np.int64))
        result = {}
        for direction, one in paired_retrieval.score(sims, self._paired[chosen]).items():
            queries = {
                "queries": Queries(
                    [ids[direction][query] for query in one.queries], one.ranks, one.average_precision, one.ndcg
                )
            }
            result[direction] = Scored(
                queries, one.n_items, one.values, one.chance, intervals=intervals(one.values, queries)
            )
        return result

    def examples(self, directions: Mapping[str, Scored]) -> list[dict[str, Any]]:
        """Captions that found their clip first, and last."""
        queries = directions["text_to_clip"].queries["queries"]
        row_of = {one: row for row, one in enumerate(self._caption_ids)}
        rows = np.array([row_of[one] for one in queries.ids], np.int64)
        assert queries.rank is not None
        return examples.best_and_worst(self._sims, self._paired, rows, queries.rank, self._texts, self._clip_ids)

    def heatmap(self) -> dict[str, NDArray[Any]]:
        """A sample of the similarities, each caption on the row of its (first) clip."""
        return examples.heatmap(self._sims, self._paired, self._texts, self._clip_ids)
