"""Protocol `multiple-choice` on the tables of a corpus: AudioEgoMCQ."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.config.experiments import ExperimentConfig
from pipeline.config.subsets import read_extended
from stages.score import multiple_choice
from stages.score.examples import N_BEST, N_WORST
from stages.score.inputs import NothingToScore, read_embedded
from stages.score.scored import Queries, Scored, intervals

CHANCE = {"accuracy": 100.0 / 5}


class ChoiceScorer:
    """Each question's sentence is compared with five clips, of which one is right.

    A question takes part if every encoder has embedded its sentence and all its clips.

    Args:
        config: of the experiment.

    Raises:
        NothingToScore: no question takes part.
        UserError: a table or an embedding cache cannot be read, or the corpus has no questions.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        if config.transform != "none":
            raise UserError(f"Protocol multiple-choice has no transform {config.transform!r}: remove `transform:`.")
        embedded = read_embedded(config)
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
            sims.append(multiple_choice.option_similarities(texts, clips, text_of, options))
        captions = embedded.captions[config.sources()[0]]
        self._texts = [captions.texts[sentences[config.sources()[0]][one]] for one in self._ids]
        weights = config.weights or [1.0] * len(sims)
        ratio = weights[0] / weights[-1]
        self._sims = multiple_choice.mix(sims, ratio, config.normalise)
        self._hits = multiple_choice.correct(self._sims, self._answers)

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
        accuracies = multiple_choice.accuracy(self._hits[chosen], self._types[chosen], self._groups)
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
