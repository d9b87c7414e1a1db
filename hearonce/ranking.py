"""Queries, and the clips of a corpus ranked by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import UserError
from cache.tables import CLIPS, MEDIA, read_table
from pipeline.config import layout
from pipeline.config.subsets import read_extended
from pipeline.console.text import did_you_mean
from stages.search.gallery import Floats, best
from stages.search.moments import Neighbours

Kind = Literal["text", "clip", "audio", "video", "file"]
Rows = NDArray[np.integer[Any]]

SORTED_AT_FIRST = 2048

MOST_COMPARED, MOST_SHOWN = 5_000, 200
"""Clips whose ids are compared with a wrong one, which takes 0.03 ms each; characters of that one that are shown."""


@dataclass(frozen=True)
class Query:
    """What is searched for, and among which clips.

    Attributes:
        corpus: name in params.yaml.
        kind: `text`; `clip`: clips like one of the corpus; `audio`, `video`: like the track of a file; `file`: like the
            track of a file that the encoder takes.
        value: the words, the clip's id, or the path of the file.
        encoders: one or more whose similarities are averaged; none for the default.
        weights: of each encoder; equal by default.
        words: share in [0, 1] that full text of the captions has in the score, see `stages/search/words.py`.
        subset: name of `configs/subsets/CORPUS/`: only its clips.
        where: a condition in SQL as in a subset's YAML, likewise.
        exact: whether all clips are compared, also where there is an index.
        by: of an encoder with several modalities, by which the query's clip or file is compared, such as `audio` with a
            gallery of videos; the gallery's own by default.
    """

    corpus: str
    kind: Kind
    value: str
    encoders: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None
    words: float = 0.0
    subset: str | None = None
    where: str | None = None
    exact: bool = False
    by: str | None = None


@dataclass(eq=False)
class Corpus:
    """The clips of a corpus with what is shown of them.

    Attributes:
        name: in params.yaml.
        table: a row per clip: `clip_id`, `media_id`, `file`, `media_digest`, `start_s`, `stop_s`, `has_audio`,
            `has_video`, `media_duration_s`, `captions`.
        duration_s: of its media together.
    """

    name: str
    table: pl.DataFrame
    duration_s: float = 0.0

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each clip in the table."""
        return {clip: row for row, clip in enumerate(self.table["clip_id"])}

    def row(self, clip: str) -> int:
        """Row of a clip.

        Raises:
            UserError: there is none of that id.
        """
        if clip not in self.rows:
            near = did_you_mean(clip, self.rows) if len(self.rows) <= MOST_COMPARED else ""
            hint = f": {near}" if near.startswith("did you mean") else f"; it has {len(self.rows):,} clips."
            raise UserError(f"Corpus {self.name!r} has no clip {clip[:MOST_SHOWN]!r}{hint}")
        return self.rows[clip]

    def rows_of(self, clips: Sequence[str]) -> Rows:
        """Rows of clips by id, -1 for those that the tables do not have."""
        return np.fromiter((self.rows.get(clip, -1) for clip in clips), np.int64, len(clips))

    def mask(self, clips: set[str]) -> NDArray[np.bool_]:
        """True for the rows of some clips."""
        mask = np.zeros(len(self.table), bool)
        rows = self.rows_of(list(clips))
        mask[rows[rows >= 0]] = True
        return mask

    @cached_property
    def neighbours(self) -> Neighbours:
        """Which clips touch in a file."""
        files, starts, stops = (self.table[name].to_numpy() for name in ("media_id", "start_s", "stop_s"))
        return Neighbours(files, starts, stops)


class Ranking:
    """All clips of a corpus by their score for a query; sorted only as far as pages ask for.

    Attributes:
        corpus: whose clips.
        encoders: that were asked.
        scores: float32 (clips,), -inf for clips that are left out.
        similarities: float32 (clips,), the embeddings' part of the scores.
        words: float32 (clips,), the words' part, or None.
        approximate: whether an index has found them: the nearest ones, but for a few that it may have missed.
        total: clips that are ranked.
    """

    def __init__(
        self,
        corpus: Corpus,
        encoders: Sequence[str],
        similarities: Floats,
        words: Floats | None,
        scores: Floats,
        approximate: bool = False,
    ) -> None:
        self.approximate = approximate
        self.corpus, self.encoders = corpus, tuple(encoders)
        self.similarities, self.words, self.scores = similarities, words, scores
        self._clips = _Sorted(scores)
        self.total = self._clips.total

    @property
    def size(self) -> int:
        """Bytes that it takes at most."""
        return (5 if self.words is not None else 4) * self.scores.nbytes

    def first(self, n: int) -> Rows:
        """The rows of the n best clips, best first; of equal ones the earlier row."""
        return self._clips.first(n)

    @cached_property
    def moments(self) -> Moments:
        """The clips, those that touch in a file joined to the best of them."""
        return Moments(self)


class Moments:
    """A ranking in which neighbouring clips of a file are one result, shown as its best clip.

    Attributes:
        total: results.
    """

    def __init__(self, ranking: Ranking) -> None:
        self._neighbours = ranking.corpus.neighbours
        self._joined = self._neighbours.joined(ranking.scores)
        own = self._joined == np.arange(len(self._joined))
        self._results = _Sorted(np.where(own, ranking.scores, np.float32(-np.inf)))
        self.total = self._results.total

    def first(self, n: int) -> Rows:
        """The best clips of the n best results, best first."""
        return self._results.first(n)

    def rows(self, result: int) -> Rows:
        """The clips of a result, by its best clip, in the order of their times."""
        of_file = self._neighbours.of_file(result)
        return of_file[self._joined[of_file] == result]


class _Sorted:
    """Scores (n,) whose finite values are sorted as far as needed; of equal ones the earlier comes first."""

    def __init__(self, scores: Floats) -> None:
        self._scores = scores
        self._order: Rows = np.empty(0, np.int64)
        self.total = int(np.isfinite(scores).sum())

    def first(self, n: int) -> Rows:
        n = min(n, self.total)
        order = self._order
        if n > len(order):
            sims, rows = best(self._scores[None], min(self.total, max(SORTED_AT_FIRST, 2 * n)))
            kept = np.isfinite(sims[0])
            values, found = sims[0][kept], np.asarray(rows[0])[kept]
            order = self._order = found[np.lexsort((found, -values))]
        return order[:n]


def read_corpus(name: str) -> Corpus:
    """Reads the tables of a corpus.

    Raises:
        UserError: it has not been ingested, or a table is damaged.
    """
    clips = read_table(layout.table(name, "clips"), CLIPS).rename({"media_path": "file"})
    media = read_table(layout.table(name, "media"), MEDIA)
    texts = (
        read_extended(name, "pairs")
        .join(read_extended(name, "captions"), on="caption_id")
        .group_by("clip_id", maintain_order=True)
        .agg(captions=pl.col("text").unique(maintain_order=True))
    )
    shown = media.select("media_id", "has_audio", "has_video", media_duration_s=pl.col("duration_s"))
    table = (
        clips.join(shown, on="media_id", how="left", maintain_order="left")
        .join(texts, on="clip_id", how="left", maintain_order="left")
        .with_columns(pl.col("captions").fill_null(pl.lit([], pl.List(pl.String))))
    )
    return Corpus(name, table, float(media["duration_s"].fill_nan(None).sum()))
