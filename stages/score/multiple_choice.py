"""Protocol `multiple-choice` (EgoMCQ): one sentence, five clips, which of them is it?

Options of an "inter" question come from five videos, those of an "intra" question from one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stages.score.blocks import each_block
from stages.score.ranking import Array
from stages.score.similarity import SMALLEST_NORM

Norm = Literal["none", "max", "one"]
Naming = Literal["by-type", "audio-egovlp", "egovlp"]

TYPES = ("inter", "intra")
TITLES = {"inter": "Inter-video", "intra": "Intra-video"}
NAMES_IN_ORDER = {
    "audio-egovlp": ("Inter-video", "Intra-video"),
    "egovlp": ("Intra-video", "Inter-video"),
}
"""Names that the reference systems give to the types at hand, in sorted order: EgoVLP swaps them, and where all
questions are of one type both call it by their first name, whichever it is."""


def option_similarities(texts: Array, clips: Array, text_of: Array, options: Array) -> NDArray[np.float32]:
    """Cosine similarity of each question's sentence with its options.

    Args:
        texts: (texts, dimensions) embeddings.
        clips: (clips, dimensions) embeddings.
        text_of: (questions,) rows of `texts`.
        options: (questions, 5) rows of `clips`.

    Returns:
        float32 (questions, 5), summed in float64 and rounded once.
    """
    result = np.empty(options.shape, np.float32)
    lengths, clip_lengths = _lengths(texts), _lengths(clips)

    def work(questions: slice) -> None:
        chosen = options[questions]
        products = np.einsum("qd,qod->qo", texts[text_of[questions]], clips[chosen], dtype=np.float64)
        result[questions] = products / (lengths[text_of[questions]][:, None] * clip_lengths[chosen])

    each_block(work, len(options), options.shape[1] * texts.shape[1])
    return result


def mix(sims: Sequence[Array], video_to_audio: float = 1.0, norm: Norm = "none") -> NDArray[np.float64]:
    """Similarities of sound, or of vision and sound: (ratio x vision + sound) / (ratio + 1).

    Args:
        sims: (questions, 5) of sound, or of vision and sound in this order.
        video_to_audio: the reference's `vtoa_ratio`.
        norm: "max" divides each question's similarities by their length (Euclidean norm), "one" by their sum; each
            encoder's alone, before mixing. (The names are the reference's; neither is a maximum.)

    Raises:
        ValueError: no or more than two encoders, or a question's similarities sum to 0 under "one".
    """
    if len(sims) not in (1, 2):
        raise ValueError(f"multiple choice mixes sound, or vision and sound, not {len(sims)} encoders")
    scaled = [_normalised(one, norm) for one in sims]
    if len(scaled) == 1:
        return scaled[0]
    vision, sound = scaled
    mixed: NDArray[np.float64] = (video_to_audio * vision + sound) / (video_to_audio + 1)
    return mixed


def correct(sims: Array, answers: Array) -> NDArray[np.bool_]:
    """Whether each question's most similar option is its answer; the first one of equals counts as chosen.

    Args:
        sims: (questions, 5).
        answers: (questions,) 0..4.

    Raises:
        ValueError: a similarity is nan.
    """
    broken = np.flatnonzero(np.isnan(sims).any(axis=1))
    if len(broken):
        raise ValueError(f"the similarities of question {broken[0]} hold nan: an embedding is broken")
    right: NDArray[np.bool_] = sims.argmax(axis=1) == answers
    return right


def accuracy(hits: Array, types: Array, naming: Naming = "by-type") -> dict[str, float]:
    """Percentage of right answers per type of question.

    Args:
        hits: (questions,) from `correct`.
        types: (questions,) "inter" or "intra".
        naming: how groups get their names: "by-type" calls each what it is; the others do as the reference systems
            (see `NAMES_IN_ORDER`).

    Raises:
        ValueError: an unknown type or naming.
    """
    if naming not in get_args(Naming):
        raise ValueError(f"no naming of groups is called {naming!r}; there are {', '.join(get_args(Naming))}")
    found = np.unique(np.asarray(types))
    strangers = sorted(set(found.tolist()) - set(TYPES))
    if strangers:
        raise ValueError(f"questions are of type inter or intra, not {strangers[0]!r}")
    titles = [TITLES[one] for one in found] if naming == "by-type" else NAMES_IN_ORDER[naming]
    return {title: 100.0 * float(np.mean(hits[types == one])) for one, title in zip(found, titles, strict=False)}


def _lengths(embeddings: Array) -> NDArray[np.float64]:
    squares = np.einsum("nd,nd->n", embeddings, embeddings, dtype=np.float64)
    lengths: NDArray[np.float64] = np.maximum(np.sqrt(squares), SMALLEST_NORM)
    return lengths


def _normalised(sims: Array, norm: Norm) -> NDArray[np.float64]:
    wide = np.asarray(sims, np.float64)
    if norm == "none":
        return wide
    if norm == "max":
        scale = np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    elif norm == "one":
        scale = wide.sum(axis=1, keepdims=True)
    else:
        raise ValueError(f"no norm is called {norm!r}; there are {', '.join(get_args(Norm))}")
    zero = np.flatnonzero(scale == 0)
    if len(zero):
        raise ValueError(f"the similarities of question {zero[0]} sum to 0: norm 'one' cannot divide by that")
    normalised: NDArray[np.float64] = wide / scale
    return normalised
