"""Protocol `multiple-choice` (EgoMCQ): one sentence, five clips, which of them is it?

Options of an "inter" question come from five videos, those of an "intra" question from one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.config.experiments import ExperimentConfig
from pipeline.config.subsets import read_extended
from stages.score.examples import N_BEST, N_WORST
from stages.score.functional.blocks import each_block
from stages.score.functional.ranking import Array
from stages.score.functional.similarity import SMALLEST_NORM
from stages.score.inputs import EmbeddingReader, NothingToScore, read_embedded
from stages.score.scored import Queries, Scored, intervals

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


CHANCE = {"accuracy": 100.0 / 5}


class ChoiceScorer:
    """Each question's sentence is compared with five clips, of which one is right.

    A question takes part if every encoder has embedded its sentence and all its clips.

    Args:
        config: of the experiment.
        reader: of embedding caches.

    Raises:
        NothingToScore: no question takes part.
        UserError: a table or an embedding cache cannot be read, or the corpus has no questions.
    """

    def __init__(self, config: ExperimentConfig, reader: EmbeddingReader) -> None:
        if config.transform != "none":
            raise UserError(f"Protocol multiple-choice has no transform {config.transform!r}: remove `transform:`.")
        embedded = read_embedded(config, reader)
        table = read_extended(config.corpus, "questions")
        if table.is_empty():
            raise UserError(f"Corpus {config.corpus!r} has no questions, which protocol multiple-choice asks.")
        clip_rows = {one: row for row, one in enumerate(embedded.clip_ids)}
        rows = {source: captions.places() for source, captions in embedded.captions.items()}
        sentences: dict[str, dict[str, int]] = {source: {} for source in rows}
        questions: dict[str, dict[str, Any]] = {}
        for question in table.iter_rows(named=True):
            for source, places in rows.items():
                if question["caption_id"] in places:
                    sentences[source][question["question_id"]] = places[question["caption_id"]]
            questions.setdefault(question["question_id"], question)
        chosen = [
            one
            for name, one in questions.items()
            if all(name in known for known in sentences.values()) and all(clip in clip_rows for clip in one["clip_ids"])
        ]
        if not chosen:
            raise NothingToScore(f"No question of {config.corpus!r} has its sentence and all its clips embedded.")
        self.n_clips_missing = embedded.n_clips_missing
        self._ids = [one["question_id"] for one in chosen]
        self._options = [one["clip_ids"] for one in chosen]
        self._answers = np.array([one["answer"] for one in chosen], np.int64)
        self._types = np.array([one["type"] for one in chosen])
        self._groups = config.groups
        options = np.array([[clip_rows[clip] for clip in one] for one in self._options], np.int64)
        sims = []
        for at, source in enumerate(config.sources()):
            captions = embedded.captions[source]
            text_of = np.array([sentences[source][one] for one in self._ids], np.int64)
            texts, clips = captions.rows[at].numpy(), embedded.clips[at].numpy()
            sims.append(option_similarities(texts, clips, text_of, options))
        captions = embedded.captions[config.sources()[0]]
        self._texts = [captions.texts[sentences[config.sources()[0]][one]] for one in self._ids]
        weights = config.weights or [1.0] * len(sims)
        ratio = weights[0] / weights[-1]
        self._sims = mix(sims, ratio, config.normalise)
        self._hits = correct(self._sims, self._answers)

    def score(self, members: AbstractSet[str] | None = None) -> dict[str, Scored]:
        """Scores the questions whose id, or whose right clip, is given."""
        chosen = np.array(
            [
                members is None or name in members or options[answer] in members
                for name, options, answer in zip(self._ids, self._options, self._answers, strict=True)
            ]
        )
        if not chosen.any():
            raise NothingToScore("no question of the subset is embedded")
        accuracies = accuracy(self._hits[chosen], self._types[chosen], self._groups)
        titles = {kind: title for kind, title in zip(sorted(set(self._types[chosen])), accuracies, strict=True)}
        result = {}
        for kind, title in titles.items():
            group = np.flatnonzero(chosen & (self._types == kind))
            queries = {
                "questions": Queries(
                    [self._ids[one] for one in group],
                    self._ranks(group),
                    correct=self._hits[group].astype(np.float64),
                )
            }
            values = {"accuracy": accuracies[title]}
            result[_direction(title)] = Scored(queries, 5, values, CHANCE, intervals=intervals(values, queries))
        return result

    def _ranks(self, questions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Place of the right option; of equal ones the first counts as chosen."""
        sims, answers = self._sims[questions], self._answers[questions, None]
        right = np.take_along_axis(sims, answers, axis=1)
        earlier = np.arange(sims.shape[1]) < answers
        return 1.0 + ((sims > right) | ((sims == right) & earlier)).sum(axis=1)

    def examples(self, directions: Mapping[str, Scored]) -> list[dict[str, Any]]:
        """Questions answered with the greatest lead, and the greatest lag."""
        right = np.take_along_axis(self._sims, self._answers[:, None], axis=1)[:, 0]
        others = self._sims.copy()
        np.put_along_axis(others, self._answers[:, None], -np.inf, axis=1)
        by_lead = np.argsort(others.max(axis=1) - right, kind="stable")
        worst = by_lead[max(N_BEST, len(by_lead) - N_WORST) :][::-1]
        chosen = [("best", one) for one in by_lead[:N_BEST]] + [("worst", one) for one in worst]
        return [{"kind": kind, **self._example(int(one))} for kind, one in chosen]

    def _example(self, number: int) -> dict[str, Any]:
        sims, options, answer = self._sims[number], self._options[number], int(self._answers[number])
        return {
            "caption": self._texts[number],
            "rank": float(self._ranks(np.array([number]))[0]),
            "expected": options[answer],
            "top": [
                {"clip": options[one], "similarity": round(float(sims[one]), 4), "is_match": int(one) == answer}
                for one in np.argsort(-sims, kind="stable")
            ],
        }

    def heatmap(self) -> dict[str, NDArray[Any]]:
        """Nothing: questions have no matrix."""
        return {}


def _direction(title: str) -> str:
    return title.lower().replace("-", "_")
