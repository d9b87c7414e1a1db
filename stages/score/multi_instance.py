"""Protocol `multi-instance-retrieval`: clips and the distinct sentences about them, with graded relevancies.

The reference (run/test_epic_wavcaps.py of audio_egovlp) has one caption row per clip and ranks matrices of clips x
clips. Many clips share a sentence, so here a matrix holds each distinct caption once and rows that repeat count as
often as they occur: the same numbers from less than half of the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.config.experiments import ExperimentConfig
from pipeline.config.subsets import read_extended
from stages.score import examples
from stages.score.functional import metrics
from stages.score.functional.blocks import contiguous, each_block, submatrix
from stages.score.functional.graded import graded_scores
from stages.score.functional.ranking import Array, without_nan
from stages.score.functional.similarity import cosine, dot_product, fuse
from stages.score.functional.transforms import Directed, Transform, transform_of
from stages.score.functional.uncertainty import interval, resampled
from stages.score.inputs import EmbeddingReader, NothingToScore, read_embedded
from stages.score.scored import Queries, Scored, intervals

RECALL_AT = (1, 5, 10, 50)
GRADED = ("mAP", "nDCG")


@dataclass(frozen=True)
class DirectionScores:
    """Per query of one direction; the clips, or for text the sentences (graded) and the clips' captions (ranks).

    Attributes:
        average_precision: (clips or sentences,) fraction.
        ndcg: (clips or sentences,) fraction, nan where nothing is relevant.
        ranks: (clips,) 1-based rank of the clip's own caption, or of the clip for its own caption.
    """

    average_precision: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    ranks: NDArray[np.float64]

    def values(self) -> dict[str, float]:
        """R@1, R@5, R@10, R@50 (percent), MedR, MeanR, mAP and nDCG (fractions)."""
        ranked = metrics.retrieval_metrics(self.ranks, RECALL_AT)
        del ranked["n_queries"]
        return ranked | _means(self.average_precision, self.ndcg)


@dataclass(frozen=True)
class MultiInstanceScores:
    """Attributes:
    clip_to_text: a clip searches sentences; the reference's VT and V2T.
    text_to_clip: a sentence searches clips; the reference's TV and T2V.
    """

    clip_to_text: DirectionScores
    text_to_clip: DirectionScores

    def values(self) -> dict[str, dict[str, float]]:
        """Direction -> metric -> value; `average` has the mean of both directions for mAP and nDCG."""
        both = {"clip_to_text": self.clip_to_text.values(), "text_to_clip": self.text_to_clip.values()}
        average = {name: sum(both[one][name] for one in both) / 2 for name in GRADED}
        return both | {"average": average}

    def by_class(self, classes: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
        """The same of mAP and nDCG per class of clip, in order of first appearance, as the reference has it.

        Clip to text is the mean over the clips of the class. Text to clip is the mean over *all* sentences, which
        the reference does not restrict, so `average` mixes the two.

        Args:
            classes: (clips,) name of each clip's class; the reference takes its sentence.
        """
        whole = _means(self.text_to_clip.average_precision, self.text_to_clip.ndcg)
        names: dict[str, int] = {}
        numbers = np.array([names.setdefault(name, len(names)) for name in classes])
        scores = self.clip_to_text.average_precision, self.clip_to_text.ndcg
        own = dict(zip(GRADED, (_class_means(one, numbers) for one in scores), strict=True))
        return {
            name: {
                "clip_to_text": {metric: own[metric][number] for metric in GRADED},
                "text_to_clip": dict(whole),
                "average": {metric: (own[metric][number] + whole[metric]) / 2 for metric in GRADED},
            }
            for name, number in names.items()
        }


def _means(average_precision: Array, ndcg: Array) -> dict[str, float]:
    return {"mAP": metrics.mean_scored(average_precision), "nDCG": metrics.mean_scored(ndcg)}


def _class_means(values: NDArray[np.float64], classes: NDArray[np.int64]) -> list[float]:
    """Mean of each class's values that are not nan."""
    scored = ~np.isnan(values)
    counts = np.bincount(classes[scored], minlength=int(classes.max(initial=-1)) + 1)
    sums = np.bincount(classes[scored], values[scored], len(counts))
    means: list[float] = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0).tolist()
    return means


Product = Literal["cosine", "dot"]

PRODUCTS: dict[Product, Callable[[Array, Array], NDArray[np.float32]]] = {"cosine": cosine, "dot": dot_product}


@dataclass(frozen=True)
class MultiInstance:
    """Similarities and what is relevant, of a corpus or a subset of it.

    Attributes:
        sims: float32 (captions, clips), each distinct caption once.
        caption_of_clip: (clips,) the row of `sims` that describes each clip.
        sentences: (sentences,) the row of `sims` of each column of `relevancy`.
        relevancy: (clips, sentences) in 0..1.
    """

    sims: NDArray[np.float32]
    caption_of_clip: NDArray[np.int64]
    sentences: NDArray[np.int64]
    relevancy: Array

    def __post_init__(self) -> None:
        expected = (len(self.caption_of_clip), len(self.sentences))
        if self.relevancy.shape != expected or self.sims.shape[1] != expected[0]:
            raise ValueError(
                f"{expected[0]} clips and {expected[1]} sentences do not fit relevancies of "
                f"{self.relevancy.shape} and similarities of {self.sims.shape} (captions, clips)"
            )

    def subset(self, clips: NDArray[np.bool_], sentences: NDArray[np.bool_] | None = None) -> MultiInstance:
        """These clips with the sentences that describe any of them, as the reference's subset files have it.

        Args:
            clips: (clips,), True for members.
            sentences: (sentences,), True for members where that is to be decided otherwise.
        """
        described = np.zeros(len(self.sims), bool)
        described[self.caption_of_clip[clips]] = True
        chosen = described[self.sentences] if sentences is None else sentences
        used = described.copy()
        used[self.sentences[chosen]] = True
        number = np.cumsum(used) - 1
        return MultiInstance(
            submatrix(self.sims, used, clips),
            number[self.caption_of_clip[clips]],
            number[self.sentences[chosen]],
            submatrix(self.relevancy, clips, chosen),
        )


def build(
    clips: Sequence[Array],
    captions: Sequence[Array],
    indexes: Array,
    relevancy: Array,
    weights: Sequence[float] | None = None,
    product: Product = "cosine",
) -> MultiInstance:
    """Similarities of one encoder, or the weighted mean of several (vision and sound).

    The reference's mean of vision and sound, `sim_matrices_both` version v1, has equal weights. It halves
    (1 + cosine) besides, which changes no rank.

    Args:
        clips: for each encoder its (clips, dimensions) embeddings.
        captions: for each encoder its (clips, dimensions) embeddings of every clip's caption.
        indexes: (sentences,) the first clip that has the sentence.
        relevancy: (clips, sentences) in 0..1.
        weights: of the encoders; equal by default.
        product: "cosine", or "dot", which the reference has before dual softmax.
    """
    first, caption_of_clip = distinct_rows(captions, indexes)
    similarity = PRODUCTS[product]
    sims = [similarity(text[first], clip) for text, clip in zip(captions, clips, strict=True)]
    fused = sims[0] if len(sims) == 1 else fuse(sims, weights)
    return MultiInstance(fused, caption_of_clip, caption_of_clip[indexes], relevancy)


def score(task: MultiInstance, transform: str | Transform = "none") -> MultiInstanceScores:
    """Ranks sentences for clips and clips for sentences.

    Ties follow the reference for ranks: text to clip counts the first of equal places, clip to text their mean, so
    that a clip whose sentence others share cannot be ranked exactly first. In average precision and nDCG the earlier
    of equal items stands first.

    Args:
        task: what to rank.
        transform: a name of `transforms.TRANSFORMS`, or a function like those.
    """
    counts = np.bincount(task.caption_of_clip, minlength=len(task.sims))
    apply = transform_of(transform) if isinstance(transform, str) else transform
    sims = apply(task.sims, counts)
    in_order = np.array_equal(task.sentences, np.arange(len(task.sentences)))
    rows: slice | Array = slice(len(task.sentences)) if in_order else task.sentences
    clip_graded = graded_scores(sims.clip_to_text[rows].T, task.relevancy)
    text_graded = graded_scores(sims.text_to_clip[rows], task.relevancy.T)
    clip_ranks, text_ranks = own_ranks(sims, task.caption_of_clip)
    return MultiInstanceScores(
        DirectionScores(clip_graded.average_precision, clip_graded.ndcg, clip_ranks),
        DirectionScores(text_graded.average_precision, text_graded.ndcg, text_ranks),
    )


def own_ranks(sims: Directed, caption_of_clip: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ranks on the diagonal of the reference's clips x clips matrix, which is never made.

    Args:
        sims: of (captions, clips), each distinct caption once.
        caption_of_clip: (clips,) rows.

    Returns:
        For each clip the rank of its caption among the captions of all clips, repeated ones repeated, and for each
        clip's caption the rank of the clip.
    """
    n_captions, n_clips = sims.text_to_clip.shape
    times = np.bincount(caption_of_clip, minlength=n_captions).astype(np.float32)  # exact up to 2**23 clips
    by_caption = np.argsort(caption_of_clip, kind="stable")  # repeated rows are at hand still
    clip_ranks, text_ranks = np.empty(n_clips), np.empty(n_clips)

    def captions_of(clips: slice) -> None:
        block = without_nan(contiguous(sims.clip_to_text[:, clips].T), clips)
        own = np.take_along_axis(block, caption_of_clip[clips, None], axis=1)
        # The mean place of equals is half way between the places before and after all of them.
        both = (block > own).view(np.uint8) + (block >= own)
        clip_ranks[clips] = (both.astype(np.float32) @ times + 1) / 2

    def clips_of(rows: slice) -> None:
        clips = by_caption[rows]
        block = sims.text_to_clip[caption_of_clip[clips]]
        own = np.take_along_axis(block, clips[:, None], axis=1)
        above = [np.count_nonzero(row) for row in block > own]  # faster than along an axis
        text_ranks[clips] = np.array(above) + 1  # of equals the first place

    each_block(captions_of, n_clips, n_captions)
    each_block(clips_of, n_clips, n_clips)
    return clip_ranks, text_ranks


def distinct_rows(embeddings: Sequence[Array], first: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers rows that are equal in every embedding alike: those of `first` in that order, then the others.

    Args:
        embeddings: matrices of the same number of rows.
        first: rows to number first.

    Returns:
        One row of each number, and the number of each row.
    """
    whole = [np.ascontiguousarray(one) for one in embeddings]
    n_rows = len(whole[0])
    contents = [b"".join(one[row].tobytes() for one in whole) for row in range(n_rows)]
    numbers: dict[bytes, int] = {}
    representatives: list[int] = []
    for row in (*first, *range(n_rows)):
        if numbers.setdefault(contents[row], len(numbers)) == len(representatives):
            representatives.append(int(row))
    return np.array(representatives, np.int64), np.array([numbers[content] for content in contents], np.int64)


class InstanceScorer:
    """Clips search the sentences about them and sentences search clips, with graded relevancies.

    A clip takes part if every encoder has embedded it and its caption, a sentence if it has the text of such a clip.
    Where captions of two sources are fused, sentences and relevancies are those of the last one, as in the reference,
    which compares vision with labels and sound with descriptions and grades by the descriptions' relevancy.

    Args:
        config: of the experiment.
        reader: of embedding caches.

    Raises:
        NothingToScore: no clip takes part, or none is relevant to a sentence.
        UserError: a table or an embedding cache cannot be read, or the corpus has no relevancies.
    """

    def __init__(self, config: ExperimentConfig, reader: EmbeddingReader) -> None:
        embedded = read_embedded(config, reader)
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
        self._task = build(
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
        scores = score(task, self._transform)
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
