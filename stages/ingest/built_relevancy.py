"""Relevancy of captions to clips, from the classes of their verbs and nouns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def built_relevancy(
    clip_classes: Sequence[Sequence[frozenset[int]]], sentence_classes: Sequence[Sequence[frozenset[int]]]
) -> NDArray[np.float64]:
    """The mean over kinds of class (verbs, nouns) of the intersection over union of each clip's and sentence's classes.

    EPIC-KITCHENS-100's rule for multi-instance retrieval (Damen et al., Rescaling Egocentric Vision, 2022).

    Args:
        clip_classes: per kind, the classes of each clip.
        sentence_classes: per kind, those of each sentence.

    Returns:
        (clips, sentences) in 0 to 1; two empty sets have nothing in common.
    """
    total: NDArray[np.float64] | None = None
    for clips, sentences in zip(clip_classes, sentence_classes, strict=True):
        clip_sets, clip_rows = _distinct(clips)
        sentence_sets, sentence_rows = _distinct(sentences)
        n_classes = 1 + max((max(one, default=0) for one in (*clip_sets, *sentence_sets)), default=0)
        left, right = _indicators(clip_sets, n_classes), _indicators(sentence_sets, n_classes)
        common = left @ right.T
        union = left.sum(axis=1)[:, None] + right.sum(axis=1) - common
        iou = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
        if total is None:
            total = iou[clip_rows][:, sentence_rows]
        else:
            total += iou[clip_rows][:, sentence_rows]
    if total is None:
        raise ValueError("no kind of class is given")
    total /= len(clip_classes)
    return total


def _distinct(sets: Sequence[frozenset[int]]) -> tuple[list[frozenset[int]], NDArray[np.intp]]:
    numbers = {one: number for number, one in enumerate(dict.fromkeys(sets))}
    return list(numbers), np.array([numbers[one] for one in sets], np.intp)


def _indicators(sets: Sequence[frozenset[int]], n_classes: int) -> NDArray[np.float64]:
    result = np.zeros((len(sets), n_classes))
    for row, one in enumerate(sets):
        result[row, list(one)] = 1
    return result
