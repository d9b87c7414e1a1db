"""Protocol `paired-retrieval`: each caption is paired with one or more clips; both directions are ranked.

Or, with another `query` than text, each clip's audio or video is paired with another modality of the same clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.config.experiments import ExperimentConfig
from pipeline.config.layout import modality_of
from stages.score.functional import metrics
from stages.score.inputs import EmbeddingReader, NothingToScore, read_clips, read_embedded, read_pairs
from stages.score.items import Items, Measure, Pairs, StoredRows
from stages.score.retrieval import Ranked, Retrieval
from stages.score.scored import Queries, Scored, intervals

METRICS = ("R@1", "R@5", "R@10", "MedR", "MeanR", "mAP", "nDCG")


class PairedScorer:
    """Each caption, or one modality of each clip, is paired with one or more clips; both directions are ranked.

    Args:
        config: of the experiment.
        reader: of embedding caches.

    Raises:
        NothingToScore: nothing is paired.
        UserError: a table or an embedding cache cannot be read, or two caption sources are named.
    """

    def __init__(self, config: ExperimentConfig, reader: EmbeddingReader) -> None:
        if config.query != "text":
            return self._of_clips(config, reader)
        if len(set(config.sources())) > 1:
            raise UserError(
                f"Protocol paired-retrieval ranks captions of one source, not of {' and '.join(config.sources())}: "
                "name one in `captions:`, or use protocol multi-instance, which joins them by clip."
            )
        embedded = read_embedded(config, reader)
        captions = embedded.captions[config.sources()[0]]
        pairs = read_pairs(config.corpus, captions.ids, embedded.clip_ids)
        if not len(pairs):
            raise NothingToScore(f"No caption of {config.corpus!r} is paired with an embedded clip.")
        described, own = np.unique(pairs.queries, return_inverse=True)
        self._pairs = Pairs(own, pairs.items)
        self._clip_ids, self.n_clips_missing = embedded.clip_ids, embedded.n_clips_missing
        self._query_ids = [captions.ids[row] for row in described]
        self._texts = [captions.texts[row] for row in described]
        self._directions = ("text_to_clip", "clip_to_text")
        self._retrieval = _retrieval(
            config, [rows.only(described) for rows in captions.rows], embedded.clips, self._pairs
        )

    def _of_clips(self, config: ExperimentConfig, reader: EmbeddingReader) -> None:
        self._clip_ids, queries, gallery, self.n_clips_missing = read_clips(config, reader)
        self._query_ids = self._texts = self._clip_ids
        self._pairs = Pairs.of(np.arange(len(self._clip_ids)), np.arange(len(self._clip_ids)))
        modalities = config.query, str(modality_of(config.encoders[0]))
        self._directions = ("_to_".join(modalities), "_to_".join(reversed(modalities)))
        self._retrieval = _retrieval(config, queries, gallery, self._pairs)

    def score(self, members: AbstractSet[str] | None = None) -> dict[str, Scored]:
        """Scores the clips against the queries that are paired with any of them."""
        clips = np.array([members is None or one in members for one in self._clip_ids])
        queries = np.zeros(len(self._query_ids), bool)
        queries[self._pairs.queries[clips[self._pairs.items]]] = True
        if not queries.any():
            raise NothingToScore("no clip of the subset is embedded and paired with a caption")
        ids = (
            [self._query_ids[row] for row in np.flatnonzero(queries)],
            [self._clip_ids[column] for column in np.flatnonzero(clips)],
        )
        both = zip(self._directions, ids, self._retrieval.ranked(queries, clips), strict=True)
        return {direction: scored(ranked, own) for direction, own, ranked in both}

    def examples(self, directions: Mapping[str, Scored]) -> list[dict[str, Any]]:
        """Queries that found their clip first, and last."""
        ranks = directions[self._directions[0]].ranks()
        return self._retrieval.best_and_worst(ranks, self._texts, self._clip_ids)

    def heatmap(self) -> dict[str, NDArray[Any]]:
        """A sample of the similarities, each query on the row of its (first) clip."""
        return self._retrieval.heatmap(self._texts, self._clip_ids)


def _retrieval(
    config: ExperimentConfig, queries: Sequence[StoredRows], gallery: Sequence[StoredRows], pairs: Pairs
) -> Retrieval:
    """Of rows per encoder."""
    measure = Measure(config.similarity == "cosine", tuple(config.weights or [1.0] * len(queries)))
    both = Items([[rows] for rows in queries]), Items([[rows] for rows in gallery])
    return Retrieval(*both, measure, pairs, config.transform)


def scored(ranked: Ranked, ids: list[str]) -> Scored:
    """R@1, R@5, R@10 (percent), MedR, MeanR, mAP and nDCG (fractions) of one direction; ties count their mean place.

    Args:
        ranked: with average precision and nDCG.
        ids: of all queries of the direction.
    """
    assert ranked.graded is not None
    ranks, precision, ndcg = ranked.ranks("mean"), ranked.graded.average_precision, ranked.graded.ndcg
    values = metrics.retrieval_metrics(ranks)
    values |= {"mAP": metrics.mean_scored(precision), "nDCG": metrics.mean_scored(ndcg)}
    values = {name: float(values[name]) for name in METRICS}
    chance = {name: float(value) for name, value in metrics.chance(ranked.n_answers, ranked.n_items).items()}
    queries = {"queries": Queries([ids[query] for query in ranked.queries], ranks, precision, ndcg)}
    return Scored(queries, ranked.n_items, values, chance, intervals=intervals(values, queries))
