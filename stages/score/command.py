"""`hearonce score EXPERIMENT` and `score-subset CORPUS SUBSET`: embedding caches -> metrics, numbers per query."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipeline import layout
from pipeline.config import load_experiment, load_params
from pipeline.subsets import read_subset
from pipeline.summary import Summary
from stages.score import results
from stages.score.experiment import open_experiment
from stages.score.inputs import NothingToScore

HEADLINE = ("R@1", "R@10", "MedR", "mAP", "nDCG", "accuracy")


def score(experiment: Annotated[str, typer.Argument(help="An experiment of configs/experiments/.")]) -> None:
    """Score an experiment on its whole corpus over the cached embeddings."""
    config = load_experiment(experiment)
    summary = Summary(f"score {experiment}", unit="queries")
    folder = layout.results(experiment)
    try:
        with summary.timed("read"):
            scorer = open_experiment(config)
        with summary.timed("score"):
            scored = scorer.score()
    except NothingToScore as reason:
        results.write_nothing(folder, experiment, config, str(reason))
        summary.remark(str(reason))
        print(summary.line(), flush=True)
        return
    with summary.timed("write"):
        results.write_experiment(folder, experiment, config, scorer, scored)
    summary.computed = sum(one.n_queries for one in scored.values())
    for direction, one in scored.items():
        shown = [
            f"{name} {one.values[name]:.4g}" + (f" (chance {one.chance[name]:.4g})" if name in one.chance else "")
            for name in HEADLINE
            if name in one.values
        ]
        summary.remark(f"{direction.replace('_', ' ')} {', '.join(shown)}")
    print(summary.line(), flush=True)


def score_subset(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    subset: Annotated[str, typer.Argument(help="A subset of configs/subsets/CORPUS/.")],
) -> None:
    """Score all experiments of a corpus on one of its subsets."""
    summary = Summary(f"score_subset {corpus} {subset}", unit="queries")
    scored: dict[str, dict[str, Any]] = {}
    with summary.timed("read"):
        members = read_subset(corpus, subset, summary.remark)
    for name in load_params().experiments_of(corpus):
        try:
            with summary.timed("read"):
                scorer = open_experiment(load_experiment(name))
            with summary.timed("score"):
                scored[name] = scorer.score(members)
        except NothingToScore as reason:
            summary.remark(f"{name}: {reason}")
    summary.computed = sum(one.n_queries for both in scored.values() for one in both.values())
    with summary.timed("write"):
        results.write_subset(layout.subset_results(corpus, subset), scored)
    print(summary.line(), flush=True)
