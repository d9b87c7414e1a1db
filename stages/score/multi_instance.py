"""Protocol `multi-instance-retrieval`: clips and the distinct sentences about them, with graded relevancies.

The reference (run/test_epic_wavcaps.py of audio_egovlp) has one caption row per clip and ranks matrices of clips x
clips. Many clips share a sentence, so here a matrix holds each distinct caption once and rows that repeat count as
often as they occur: the same numbers from less than half of the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.score.blocks import contiguous, each_block, submatrix
from stages.score.graded import graded_scores
from stages.score.multi_instance_scores import DirectionScores, MultiInstanceScores
from stages.score.ranking import Array, without_nan
from stages.score.similarity import cosine, dot_product, fuse
from stages.score.transforms import Directed, Transform, transform_of

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
