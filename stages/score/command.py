"""`hearonce score EXPERIMENT` and `score-subset CORPUS SUBSET`: embedding caches -> metrics, numbers per query."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import typer

from pipeline import layout
from pipeline.config.experiment import load_experiment
from pipeline.config.params import load_params
from pipeline.monitor.log import logged
from pipeline.subsets import read_subset
from stages.score import results
from stages.score.experiment import open_experiment
from stages.score.inputs import NothingToScore
from stages.score.scored import Scored


@logged
def score(experiment: Annotated[str, typer.Argument(help="An experiment of configs/experiments/.")]) -> None:
    """Score an experiment on its whole corpus over the cached embeddings."""
    config = load_experiment(experiment)
    started = time.monotonic()
    folder = layout.results(experiment)
    try:
        scorer = open_experiment(config)
        scored = scorer.score()
    except NothingToScore as reason:
        results.write_nothing(folder, experiment, config, str(reason))
        print(f"score {experiment}: {reason}", flush=True)
        return
    results.write_experiment(folder, experiment, config, scorer, scored)
    n_queries = sum(one.n_queries for one in scored.values())
    print(f"score {experiment}: {headline(scored)} ({n_queries:,} queries, {_since(started)})", flush=True)


@logged
def score_subset(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    subset: Annotated[str, typer.Argument(help="A subset of configs/subsets/CORPUS/.")],
) -> None:
    """Score all experiments of a corpus on one of its subsets."""
    started = time.monotonic()
    scored: dict[str, dict[str, Any]] = {}
    remarks: list[str] = []
    members = read_subset(corpus, subset, remarks.append)
    names = load_params().experiments_of(corpus)
    for name in names:
        try:
            scored[name] = open_experiment(load_experiment(name).on_subset(subset)).score(members)
        except NothingToScore as reason:
            remarks.append(f"{name}: {reason}")
    results.write_subset(layout.subset_results(corpus, subset), scored)
    n_queries = sum(one.n_queries for both in scored.values() for one in both.values())
    done = f"score_subset {corpus} {subset}: {len(scored)} of {len(names)} experiments scored"
    print("; ".join([f"{done} ({n_queries:,} queries, {_since(started)})", *remarks]), flush=True)


def headline(scored: Mapping[str, Scored]) -> str:
    """The few numbers that say most: mAP and nDCG of both directions, or accuracy or R@1 of each."""
    if "average" in scored:
        shown = [("average", metric) for metric in ("mAP", "nDCG")]
    else:
        shown = [(direction, "accuracy" if "accuracy" in one.values else "R@1") for direction, one in scored.items()]
    parts = []
    for direction, metric in shown:
        value, chance = scored[direction].values[metric], scored[direction].chance.get(metric, np.nan)
        text = f"{direction.replace('_', ' ')} {metric} {_number(metric, value)}"
        parts.append(text if np.isnan(chance) else f"{text}, chance {_number(metric, chance)}")
    return "; ".join(parts)


def _number(metric: str, value: float) -> str:
    return f"{value:.3f}" if metric in ("mAP", "nDCG") else f"{value:.1f}"


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.2f} s"
