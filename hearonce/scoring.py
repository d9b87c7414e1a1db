"""Retrieval metrics of arrays at hand, and of the experiments of a project over their cached embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.config.experiments import ALL, load_experiment
from pipeline.config.subsets import read_subset
from stages.score.experiment import open_experiment
from stages.score.functional.graded import graded_scores
from stages.score.functional.metrics import mean_scored, retrieval_metrics
from stages.score.functional.ranking import ranks_of_best
from stages.score.functional.similarity import cosine


def score(queries: ArrayLike, gallery: ArrayLike, relevant: ArrayLike | None = None) -> dict[str, float]:
    """Ranks a gallery for each query by cosine similarity.

    Args:
        queries: (q, dim) embeddings.
        gallery: (n, dim) embeddings.
        relevant: which items answer which query: None where item i answers query i; (q,) the position of the one
            answer of each query; or (q, n) relevancies in [0, 1], in which 1 (or True) is an answer.

    Returns:
        `R@1`, `R@5`, `R@10` in percent, `MedR` and `MeanR` (ranks from 1, the mean of tied places), `mAP` and `nDCG` as
        fractions, `n_queries` that have an answer.

    Raises:
        ValueError: the shapes do not fit, or a number is not finite.

    Example:
        >>> import hearonce
        >>> numbers = hearonce.score([[1.0, 0.0], [0.0, 1.0]], [[0.9, 0.1], [0.8, 0.2]])
        >>> numbers["R@1"], numbers["MedR"]
        (100.0, 1.0)
    """
    queries, gallery = _finite(queries, "queries"), _finite(gallery, "gallery")
    relevancy = _relevancy(relevant, len(queries), len(gallery))
    answers = relevancy == 1
    sims = cosine(queries, gallery)
    answered = answers.any(axis=1)
    graded = graded_scores(sims[answered], relevancy[answered])
    values = retrieval_metrics(ranks_of_best(sims, answers))
    values |= {"mAP": mean_scored(graded.average_precision), "nDCG": mean_scored(graded.ndcg)}
    return {name: float(value) for name, value in values.items()}


def score_experiment(name: str, subset: str = ALL) -> dict[str, dict[str, float]]:
    """Scores an experiment of `configs/experiments/` over the cached embeddings, as the `score` stage does.

    Args:
        name: of the experiment.
        subset: of its corpus; the whole corpus by default.

    Returns:
        Direction (`text_to_clip`, ...) -> metric -> value.

    Raises:
        UserError: there is no such experiment or subset, or an embedding or table is missing.
    """
    config = load_experiment(name)
    if subset == ALL:
        scored = open_experiment(config).score()
    else:
        members = read_subset(config.corpus, subset)
        scored = open_experiment(config.on_subset(subset)).score(members)
    return {direction: dict(result.values) for direction, result in scored.items()}


def _finite(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError(f"{name} need the shape (n, dim) and finite numbers, got {array.shape}")
    return array


def _relevancy(relevant: ArrayLike | None, n_queries: int, n_items: int) -> NDArray[np.float64]:
    given = np.arange(n_queries) if relevant is None else np.asarray(relevant)
    if relevant is None and n_queries != n_items:
        raise ValueError(f"{n_queries} queries and {n_items} items: say which items are relevant")
    if given.shape == (n_queries,) and given.dtype.kind in "iu":
        if ((given < 0) | (given >= n_items)).any():
            raise ValueError(f"relevant names items that are not among the {n_items} of the gallery")
        relevancy = np.zeros((n_queries, n_items))
        relevancy[np.arange(n_queries), given] = 1
        return relevancy
    if given.shape != (n_queries, n_items):
        raise ValueError(f"relevant has the shape {given.shape}, not ({n_queries},) or ({n_queries}, {n_items})")
    return given.astype(np.float64)
