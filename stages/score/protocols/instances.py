"""Protocol `multi-instance` on the tables of a corpus: AudioEpicMIR and EpicSoundsRet of A Sound Approach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.config.experiments import ExperimentConfig
from pipeline.config.subsets import read_extended
from stages.score import examples, metrics, multi_instance
from stages.score.inputs import NothingToScore, read_embedded
from stages.score.multi_instance_scores import GRADED, RECALL_AT, DirectionScores
from stages.score.scored import Queries, Scored, intervals
from stages.score.uncertainty import interval, resampled


class InstanceScorer:
    """Clips search the sentences about them and sentences search clips, with graded relevancies.

    A clip takes part if every encoder has embedded it and its caption, a sentence if it has the text of such a clip.
    Where captions of two sources are fused, sentences and relevancies are those of the last one, as in the reference,
    which compares vision with labels and sound with descriptions and grades by the descriptions' relevancy.

    Args:
        config: of the experiment.

    Raises:
        NothingToScore: no clip takes part, or none is relevant to a sentence.
        UserError: a table or an embedding cache cannot be read, or the corpus has no relevancies.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        embedded = read_embedded(config)
        sources = config.sources()
        own = {source: _own_captions(config.corpus, embedded.captions[source].places()) for source in set(sources)}
        chosen = [row for row, clip in enumerate(embedded.clip_ids) if all(clip in one for one in own.values())]
        if not chosen:
            raise NothingToScore(f"No clip of {config.corpus!r} is embedded together with its caption.")
        self._clip_ids = [embedded.clip_ids[row] for row in chosen]
        self.n_clips_missing = embedded.n_clips_missing + len(embedded.clip_ids) - len(chosen)
        captions = embedded.captions[sources[-1]]
        self._texts = dict(zip(captions.ids, captions.texts, strict=True))
        self._own_texts = [captions.texts[own[sources[-1]][clip]] for clip in self._clip_ids]
        self._sentence_ids, indexes, relevancy = self._read_relevancy(config.corpus, sources[-1])
        self._transform = config.transform
        self._task = multi_instance.build(
            [rows.numpy(np.array(chosen)) for rows in embedded.clips],
            [
                embedded.captions[source].rows[at].numpy(np.array([own[source][clip] for clip in self._clip_ids]))
                for at, source in enumerate(sources)
            ],
            indexes,
            relevancy,
            config.weights,
            "dot" if config.transform == "dual-softmax" else "cosine",
        )

    def _read_relevancy(self, corpus: str, source: str) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64]]:
        """Sentences in table order, the clip that each is taken from, and relevancies of (clips, sentences)."""
        table = read_extended(corpus, "relevancy")
        if table.is_empty():
            raise UserError(
                f"Corpus {corpus!r} has no relevancies, which protocol multi-instance ranks by: use protocol "
                "paired-retrieval, or see `relevancy:` in its config."
            )
        graded = set(table["caption_id"].unique())
        clip_of = self._clips_of_sentences(source, [one for one in self._texts if one in graded])
        rows = pl.DataFrame({"clip_id": self._clip_ids}).with_row_index("row")
        columns = pl.DataFrame({"caption_id": list(clip_of)}, schema={"caption_id": pl.String}).with_row_index("column")
        cells = table.join(rows, on="clip_id").join(columns, on="caption_id").select("row", "column", "relevancy")
        if cells.is_empty():
            raise NothingToScore(f"No embedded clip of {corpus!r} is relevant to an embedded sentence.")
        relevancy = np.zeros((len(self._clip_ids), len(clip_of)))
        relevancy[cells["row"].to_numpy(), cells["column"].to_numpy()] = cells["relevancy"].to_numpy()
        return list(clip_of), np.array(list(clip_of.values()), np.int64), relevancy

    def _clips_of_sentences(self, source: str, sentences: Sequence[str]) -> dict[str, int]:
        """The clip that a sentence's id names, or else the first one with its text; without one it takes no part.

        By text, not by id: of two sentences that read the same, clips may all have the first one as their own.
        """
        first: dict[str, int] = {}
        for row, text in enumerate(self._own_texts):
            first.setdefault(text, row)
        rows = {f"{source}:{clip}": row for row, clip in enumerate(self._clip_ids)}
        found: dict[str, int] = {}
        for one in sentences:
            text, named = self._texts[one], rows.get(one)
            if named is not None and self._own_texts[named] == text:
                found[one] = named
            elif text in first:
                found[one] = first[text]
        return found

    def score(self, members: AbstractSet[str] | None = None) -> dict[str, Scored]:
        """Scores the clips, and the sentences that are members too, or if none is those that describe any of them."""
        clips = np.array([members is None or one in members for one in self._clip_ids])
        kept = np.isin(self._task.sentences, self._task.caption_of_clip[clips])
        if members is not None and not members.isdisjoint(self._sentence_ids):
            kept &= np.array([one in members for one in self._sentence_ids])
        task = self._task if members is None else self._task.subset(clips, kept)
        if not task.relevancy.size:
            raise NothingToScore("no clip of the subset is embedded and described by a sentence")
        scores = multi_instance.score(task, self._transform)
        ids = [self._clip_ids[row] for row in np.flatnonzero(clips)]
        sentences = [self._sentence_ids[column] for column in np.flatnonzero(kept)]
        to_text = {"clips": _queries(ids, scores.clip_to_text)}
        graded = Queries(sentences, None, scores.text_to_clip.average_precision, scores.text_to_clip.ndcg)
        to_clip = {"sentences": graded, "captions of clips": Queries(ids, scores.text_to_clip.ranks)}
        values = scores.values()
        classes = scores.by_class([text for text, member in zip(self._own_texts, clips, strict=True) if member])
        result = {}
        for direction, queries, relevancy in (
            ("clip_to_text", to_text, task.relevancy),
            ("text_to_clip", to_clip, task.relevancy.T),
        ):
            result[direction] = Scored(
                queries,
                relevancy.shape[1],
                values[direction],
                _chance(relevancy, len(ids)),
                {name: one[direction] for name, one in classes.items()},
                intervals(values[direction], queries),
            )
        result["average"] = Scored(
            {},
            0,
            values["average"],
            {name: (result["clip_to_text"].chance[name] + result["text_to_clip"].chance[name]) / 2 for name in GRADED},
            {name: one["average"] for name, one in classes.items()},
            _intervals_of_average(values["average"], to_text["clips"], graded),
        )
        return result

    def examples(self, directions: Mapping[str, Scored]) -> list[dict[str, Any]]:
        """Sentences of which a clip that they describe stands far up, and far down."""
        sims = self._task.sims[self._task.sentences]
        exact = self._task.relevancy.T == 1
        rows = np.flatnonzero(exact.any(axis=1))
        ranks = np.array([_best_rank(sims[row], exact[row]) for row in rows])
        texts = [self._texts[one] for one in self._sentence_ids]
        return examples.best_and_worst(sims, exact, rows, ranks, texts, self._clip_ids)

    def heatmap(self) -> dict[str, NDArray[Any]]:
        """A sample of the similarities of sentences with clips."""
        texts = [self._texts[one] for one in self._sentence_ids]
        exact = self._task.relevancy.T == 1
        if not exact.any():
            return {}
        return examples.heatmap(self._task.sims[self._task.sentences], exact, texts, self._clip_ids)


def _own_captions(corpus: str, rows: Mapping[str, int]) -> dict[str, int]:
    """The row of each clip's own caption among those of one source."""
    pairs = read_extended(corpus, "pairs")
    return {clip: rows[caption] for clip, caption in reversed(pairs.rows()) if caption in rows}


def _queries(ids: list[str], scores: DirectionScores) -> Queries:
    return Queries(ids, scores.ranks, scores.average_precision, scores.ndcg)


def _chance(relevancy: NDArray[np.float64], n_clips: int) -> dict[str, float]:
    ranked = metrics.chance(np.ones(n_clips, np.int64), n_clips, ks=RECALL_AT)
    graded = metrics.chance((relevancy == 1).sum(axis=1), relevancy.shape[1], relevancy)
    return {**ranked, **{name: graded[name] for name in GRADED}}


def _intervals_of_average(
    values: Mapping[str, float], clips: Queries, sentences: Queries
) -> dict[str, tuple[float, float]]:
    """Both directions are drawn anew for each resample of their mean."""
    found = {}
    for name, columns in (
        ("mAP", (clips.average_precision, sentences.average_precision)),
        ("nDCG", (clips.ndcg, sentences.ndcg)),
    ):
        scored = [column[~np.isnan(column)] for column in columns if column is not None]
        if not all(len(one) for one in scored):
            continue
        draws = [resampled(one, seed=seed) for seed, one in enumerate(scored)]
        both = interval(values[name], (draws[0] + draws[1]) / 2)
        found[name] = (both.low, both.high)
    return found


def _best_rank(sims: NDArray[np.float32], exact: NDArray[np.bool_]) -> float:
    return 1.0 + np.count_nonzero(sims > sims[exact].max())
