"""Protocol `avlnet` on the tables of a corpus: between the sides that AVLnet embeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline import layout
from pipeline.config.experiment import ExperimentConfig
from stages.avlnet.pair_ids import pair_id
from stages.avlnet.retrieval import SIDES, direction
from stages.score import examples, side_retrieval
from stages.score.inputs import NothingToScore
from stages.score.scored import Queries, Scored, intervals
from stages.score.similarity import dot_product


class SideScorer:
    """Sound, text, or both together against pictures, and text against sound and picture.

    Which of them follows from what the encoder has embedded: A->V and V->A (AVLnet), T->A+V (AVLnet-Text-Tri) or T+A->V
    (AVLnet-Text-Fused) and the way back. Similarities are dot products. Clips that lack a side are left out, and count
    as mistakes where the experiment says how many queries there are.

    Args:
        config: of the experiment.

    Raises:
        NothingToScore: nothing is embedded.
        UserError: a table or an embedding cache cannot be read.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        if len(config.encoders) != 1:
            raise UserError("Protocol avlnet takes one encoder.")
        self._config = config
        self._variant = side_retrieval.variant_of(
            {path.stem for path in layout.embeddings(config.corpus, config.encoders[0], "any").parent.glob("*.zarr")},
            f"data/embeddings/{config.corpus}/{config.encoders[0]}",
        )
        queries, items = SIDES[self._variant]
        self._clips = schemas.read_table(layout.table(config.corpus, "clips"), schemas.CLIPS)["clip_id"].to_list()
        self._pairs = self._read_pairs()
        self._item_ids, self._items = self._summed(items)
        self._query_ids, self._queries = self._summed(queries)
        self.n_clips_missing = len(self._clips) - len(self._item_ids)
        if not self._item_ids or not self._query_ids:
            raise NothingToScore(
                f"Corpus {config.corpus!r} has {len(self._query_ids)} queries and {len(self._item_ids)} items embedded "
                f"by {config.encoders[0]}: there is nothing to score (see `hearonce problems`)."
            )
        self._names = (direction(queries, items), direction(items, queries))
        self._right = self._rights()

    def _read_pairs(self) -> list[tuple[str, str]]:
        """Clip and caption of the experiment's caption source."""
        if self._variant == "bi":
            return []
        captions = schemas.read_table(layout.table(self._config.corpus, "captions"), schemas.CAPTIONS)
        (source,) = self._config.sources()
        of_source = set(captions.filter(captions["source"] == source)["caption_id"])
        pairs = schemas.read_table(layout.table(self._config.corpus, "pairs"), schemas.PAIRS)
        return [(a, b) for a, b in pairs.select("clip_id", "caption_id").iter_rows() if b in of_source]

    def _summed(self, sides: tuple[str, ...]) -> tuple[list[str], NDArray[np.float64]]:
        """Ids that all these sides have embedded, in table order, and the sums of their rows."""
        opened = [open_artifact(layout.embeddings(self._config.corpus, self._config.encoders[0], one)) for one in sides]
        places = [{one: row for row, one in enumerate(artifact.ids)} for artifact in opened]
        ids = [one for one in self._wanted(sides[0]) if all(one in rows for rows in places)]
        rows = [artifact.numpy()[[of[one] for one in ids]] for artifact, of in zip(opened, places, strict=True)]
        return ids, np.sum(np.asarray(rows, np.float64), axis=0)

    def _wanted(self, side: str) -> list[str]:
        if side == "text":
            return list(dict.fromkeys(caption for _, caption in self._pairs))
        if side == "sound_text":
            return [pair_id(clip, caption) for clip, caption in self._pairs]
        return self._clips

    def _rights(self) -> NDArray[np.bool_]:
        """(queries, items): True where they belong together."""
        row_of = {one: row for row, one in enumerate(self._query_ids)}
        column_of = {one: column for column, one in enumerate(self._item_ids)}
        right = np.zeros((len(row_of), len(column_of)), bool)
        if self._variant == "bi":
            belonging = [(one, one) for one in self._clips]
        elif self._variant == "tri":
            belonging = [(caption, clip) for clip, caption in self._pairs]
        else:
            belonging = [(pair_id(clip, caption), clip) for clip, caption in self._pairs]
        for query, item in belonging:
            if query in row_of and item in column_of:
                right[row_of[query], column_of[item]] = True
        return right

    def score(self, members: Collection[str] | None = None) -> dict[str, Scored]:
        """Scores the clips against the queries that belong to any of them."""
        items = np.array([members is None or one in members for one in self._item_ids])
        queries = self._right[:, items].any(axis=1)
        items &= self._right.any(axis=0)
        if not queries.any():
            raise NothingToScore("no clip of the subset is embedded together with a query that belongs to it")
        sims = dot_product(self._queries[queries], self._items[items])
        right = self._right[np.ix_(queries, items)]
        sides = (
            (self._names[0], [self._query_ids[i] for i in np.flatnonzero(queries)], sims, right),
            (self._names[1], [self._item_ids[i] for i in np.flatnonzero(items)], sims.T, right.T),
        )
        count = self._config.query_count
        result = {}
        for name, ids, similarities, belongs in sides:
            one = side_retrieval.score(np.ascontiguousarray(similarities), belongs, self._config.ties, count)
            numbers = {"queries": Queries(ids, one.ranks)}
            plain = self._config.ties != "several-ranks" and count is None
            ends = intervals(one.values, numbers) if plain else {}
            result[name] = Scored(numbers, similarities.shape[1], one.values, one.chance, intervals=ends)
        return result

    def examples(self, directions: Mapping[str, Scored]) -> list[dict[str, Any]]:
        """Queries that found their clip first, and last."""
        queries = directions[self._names[0]].queries["queries"]
        row_of = {one: row for row, one in enumerate(self._query_ids)}
        rows = np.array([row_of[one] for one in queries.ids], np.int64)
        assert queries.rank is not None
        return examples.best_and_worst(
            self._similarities(), self._right, rows, queries.rank, self._query_ids, self._item_ids
        )

    def heatmap(self) -> dict[str, NDArray[Any]]:
        """A sample of the similarities, each query on the row of its clip."""
        return examples.heatmap(self._similarities(), self._right, self._query_ids, self._item_ids)

    def _similarities(self) -> NDArray[np.float32]:
        return dot_product(self._queries, self._items)
