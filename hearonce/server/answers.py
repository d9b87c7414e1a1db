"""What the JSON API answers, made of a searcher's corpora and rankings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import UserError
from hearonce.ranking import Corpus, Ranking, Rows
from hearonce.searcher import Searcher
from pipeline.config.subsets import FOLDER
from pipeline.console.text import did_you_mean
from pipeline.media.containers import MediaError
from pipeline.media.location import MediaPlace, Source, open_place

MOST_MOMENTS = 200
"""Of one result, the best ones."""


class NotServed(UserError):
    """There is no such corpus, clip or file."""


class Library:
    """The corpora that a server shows.

    Args:
        searcher: that searches them.
        names: of corpora; all of params.yaml by default.
    """

    def __init__(self, searcher: Searcher, names: Sequence[str] = ()) -> None:
        self.searcher, self._names = searcher, tuple(names)

    @property
    def names(self) -> list[str]:
        """Corpora that are shown."""
        return list(self._names or self.searcher.params.corpora)

    def corpus(self, name: str) -> Corpus:
        """A corpus that is shown.

        Raises:
            NotServed: there is none of that name.
            UserError: it has not been ingested.
        """
        if name not in self.names:
            raise NotServed(f"No corpus {name!r} is served here: {', '.join(self.names)}.")
        return self.searcher.corpus(name)

    def clip(self, name: str, clip: str) -> tuple[Corpus, int]:
        """A corpus that is shown, and a clip's row of its table.

        Raises:
            NotServed: there is no such corpus or clip.
        """
        corpus = self.corpus(name)
        if clip not in corpus:
            raise NotServed(f"Corpus {name!r} has no clip {clip[:200]!r}.")
        return corpus, corpus.row(clip)

    def check(self, corpus: str, encoders: Sequence[str] = (), subset: str | None = None) -> None:
        """Makes sure that names which become parts of paths are known ones.

        Raises:
            NotServed: a name is not.
        """
        self.corpus(corpus)
        known, subsets = self.searcher.encoders_of(corpus), subset_names(corpus)
        for encoder in encoders:
            if encoder not in known:
                raise NotServed(f"No encoder {encoder!r} of {corpus!r}: {did_you_mean(encoder, known)}")
        if subset is not None and subset not in subsets:
            raise NotServed(f"No subset {subset!r} of {corpus!r}: {did_you_mean(subset, subsets)}")

    def file(self, name: str, clip: str) -> Source:
        """The medium of a clip.

        Raises:
            NotServed: there is no such corpus or clip, or its medium is no longer there.
        """
        corpus, row = self.clip(name, clip)
        source = self._source(self._place(name), str(corpus.table["file"][row]))
        if source is None:
            raise NotServed(f"{corpus.table['file'][row]} of clip {clip!r}: file not found.")
        return source

    def corpora(self) -> list[dict[str, Any]]:
        """Corpora with their encoders and subsets; what is wrong with one is said by it."""
        return [self._corpus(name) for name in self.names]

    def _corpus(self, name: str) -> dict[str, Any]:
        problem = None
        try:
            corpus = self.searcher.corpus(name)
            shape = {
                "clips": len(corpus.table),
                "duration_s": corpus.duration_s,
                "captions": bool((corpus.table["captions"].list.len() > 0).any()),
            }
        except UserError as error:
            shape, problem = {"clips": 0, "duration_s": 0.0, "captions": False}, str(error)
        known, default = self.searcher.encoders_of(name), self._default(name)
        return {
            "name": name,
            **shape,
            "subsets": subset_names(name),
            "encoders": [self._encoder(name, encoder, default) for encoder in known],
            "maps": self._maps(name, known),
            "problem": problem,
        }

    def _default(self, corpus: str) -> str | None:
        for kind in ("text", "clip"):
            try:
                return self.searcher.default_encoder(corpus, kind)
            except UserError:
                continue
        return None

    def _encoder(self, corpus: str, name: str, default: str | None) -> dict[str, Any]:
        answer: dict[str, Any] = {"name": name, "text": False, "audio": False, "video": False, "dim": None}
        problem = self.searcher.problem(corpus, name, "clip")
        try:
            takes = self.searcher.takes(name)
            answer |= {"text": takes.text, "dim": takes.dim}
            answer |= {kind: takes.media == kind for kind in ("audio", "video")}
        except UserError as error:
            problem = problem or str(error)
        return {**answer, "default": name == default, "problem": problem}

    def _maps(self, corpus: str, encoders: Sequence[str]) -> list[str]:
        return []

    def page(self, ranking: Ranking, group: bool, offset: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """How many results there are, and some of them.

        Args:
            ranking: of the clips.
            group: whether neighbouring clips of a file are one result.
            offset: of the first one.
            limit: most results.
        """
        listed = ranking.moments if group else ranking
        rows = listed.first(offset + limit)[offset:]
        results = self._described(ranking.corpus, rows)
        for position, (row, result) in enumerate(zip(rows.tolist(), results, strict=True)):
            moments = self._moments(ranking, row) if group else []
            result |= {
                "rank": offset + position + 1,
                "score": float(ranking.scores[row]),
                "score_embedding": float(ranking.similarities[row]),
                "score_words": None if ranking.words is None else float(ranking.words[row]),
                "moments": moments,
            }
        return listed.total, results

    def _moments(self, ranking: Ranking, row: int) -> list[dict[str, Any]]:
        rows = ranking.moments.rows(row)
        if len(rows) <= 1:
            return []
        rows = rows[np.argsort(-ranking.scores[rows], kind="stable")[:MOST_MOMENTS]]
        found = ranking.corpus.table[rows].select("clip_id", "start_s", "stop_s").to_dicts()
        for moment, score in zip(found, ranking.scores[rows].tolist(), strict=True):
            moment["score"] = score
        return sorted(found, key=lambda moment: (moment["start_s"], moment["stop_s"], moment["clip_id"]))

    def described(self, name: str, clip: str) -> dict[str, Any]:
        """One clip."""
        corpus, row = self.clip(name, clip)
        (result,) = self._described(corpus, np.array([row]))
        return {**result, "duration_s": corpus.table["media_duration_s"][row], "moments": []}

    def _described(self, corpus: Corpus, rows: Rows) -> list[dict[str, Any]]:
        columns = ("clip_id", "file", "start_s", "stop_s", "captions", "has_audio", "has_video")
        found = corpus.table[rows].select(columns).to_dicts()
        masks = self._masks(corpus.name)
        place = self._place(corpus.name)
        for row, clip in zip(rows.tolist(), found, strict=True):
            clip["subsets"] = [name for name, mask in masks.items() if len(mask) > row and mask[row]]
            clip["missing"] = self._source(place, clip["file"]) is None
        return found

    def _masks(self, corpus: str) -> dict[str, np.ndarray]:
        masks = {}
        for name in subset_names(corpus):
            try:
                masks[name] = self.searcher.members(corpus, name)
            except UserError:  # said by a search in that subset
                continue
        return masks

    def _place(self, corpus: str) -> MediaPlace:
        media = self.searcher.params.corpora[corpus].media
        return self.searcher.kept(("place", corpus), [media], lambda: open_place(media))

    @staticmethod
    def _source(place: MediaPlace, file: str) -> Source | None:
        """Where a medium lies; None where it is known that it is not there."""
        if os.path.isabs(file) or ".." in Path(file).parts:  # ingest writes no such path
            return None
        try:
            source = place.source(file)
        except MediaError:
            return None
        return None if isinstance(source, Path) and not os.path.exists(source) else source


def subset_names(corpus: str) -> list[str]:
    """Subsets of a corpus that have a file."""
    return sorted(path.stem for path in (FOLDER / corpus).glob("*.yaml"))
