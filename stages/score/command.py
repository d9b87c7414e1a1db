"""`hearonce score CORPUS SUBSET`: embedding caches -> metrics of all experiments, numbers per query."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from typing import Annotated

import numpy as np
import typer

from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.experiments import ALL, FOLDER, experiments_of, load_experiment, runnable_experiments
from pipeline.config.layout import embedded_as
from pipeline.config.params import FEATURES, PARAMS, load_params
from pipeline.config.subsets import read_subset
from pipeline.console.text import counted, did_you_mean
from pipeline.monitor.log import logged
from stages.score import results
from stages.score.cells import CellStore, compute
from stages.score.inputs import EmbeddingReader
from stages.score.scored import Scored


@logged
def score(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    subset: Annotated[str, typer.Argument(help="A subset of configs/subsets/CORPUS/; `all` has every clip.")] = ALL,
    force: Annotated[bool, typer.Option("--force", help="Compute also what the store has kept.")] = False,
) -> None:
    """Score all experiments of a corpus on one of its subsets, over the cached embeddings."""
    started = time.monotonic()
    notes: list[str] = []
    _check_corpus(corpus)
    members = None if subset == ALL else read_subset(corpus, subset, notes.append)
    experiments = runnable_experiments(corpus)
    if not experiments:
        raise UserError(
            f"No experiment of configs/experiments/{corpus}/ has all its encoders embedded: list them under "
            f"`embeddings` of {PARAMS} and run `dvc repro`."
        )
    embedded = {embedded_as(encoder) for experiment in experiments for encoder in experiment.encoders}
    reader, kept, n_kept = EmbeddingReader(), CellStore(corpus, members), 0
    broken: dict[str, UserError] = {}
    found: dict[str, results.Result] = {}
    for experiment in experiments:
        scored_as, cell = experiment.on_subset(subset), None
        try:
            key = kept.key(scored_as)
            if not force:
                try:
                    cell = kept.read(key)
                except UserError as error:
                    notes.append(f"{experiment.name} is computed again: {error}")
            if cell is None:
                cell = compute(scored_as, members, reader)
                kept.write(key, cell)
            else:
                n_kept += 1
        except UserError as error:  # the others are scored all the same
            broken[experiment.name] = error
            continue
        found[experiment.name] = results.Result(experiment, cell, members is None)
        if cell.nothing:
            notes.append(f"{experiment.name}: {cell.nothing}")
        elif members is None:
            print(f"{experiment.name}: {headline(cell.directions)}", flush=True)
    if absent := sorted({embedded_as(one) for other in experiments_of(corpus) for one in other.encoders} - embedded):
        left = len(experiments_of(corpus)) - len(experiments)
        notes.append(f"{counted(left, 'experiment')} without embeddings of {', '.join(absent)} left out")
    if unlisted := _unlisted(corpus, embedded):
        notes.append(
            f"{', '.join(unlisted)} scored though `embeddings` of {PARAMS} does not list {corpus} for it: delete "
            f"{layout.DATA}/embeddings/{corpus}/{unlisted[0]} if it is no longer wanted"
        )
    results.write_results(layout.results(corpus, subset), found)
    n_scored = sum(not one.cell.nothing for one in found.values())
    n_queries = sum(scored.n_queries for one in found.values() for scored in one.cell.directions.values())
    line = f"score {corpus} {subset}: {n_scored} of {counted(len(found), 'experiment')} scored"
    line += f", {n_kept} of them unchanged" if n_kept else ""
    print("; ".join([f"{line} ({n_queries:,} queries, {_since(started)})", *notes]), flush=True)
    if len(broken) == 1:
        raise next(iter(broken.values()))
    if broken:
        reasons = "; ".join(f"{name}: {error}" for name, error in broken.items())
        raise UserError(f"{counted(len(broken), 'experiment')} cannot be scored: {reasons}")


def _check_corpus(corpus: str) -> None:
    """An experiment in place of a corpus was the argument of the last version."""
    known = load_params().corpora
    if corpus in known or (FOLDER / corpus).is_dir():
        return
    try:
        experiment = load_experiment(corpus)
    except UserError:
        raise UserError(f"No corpus {corpus!r} in {PARAMS}: {did_you_mean(corpus, list(known))}") from None
    raise UserError(
        f"{corpus!r} is an experiment: `score` now takes a corpus and scores all its experiments: "
        f"`hearonce score {experiment.corpus}`."
    )


def _unlisted(corpus: str, encoders: Set[str]) -> list[str]:
    """Encoders of which embeddings lie there that a configured corpus does not list, such as one that was removed."""
    params = load_params()
    if corpus not in params.corpora:
        return []
    return sorted(one for one in encoders - params.encoders_of(corpus) if not one.startswith(FEATURES))


HEADLINES = ("accuracy", "top-1", "R@1", "mAP")
"""The first that a direction has says most of it."""


def _headline_of(values: Mapping[str, float]) -> str:
    return next(name for name in HEADLINES if name in values)


def headline(scored: Mapping[str, Scored]) -> str:
    """The few numbers that say most: mAP and nDCG of both directions, or accuracy, R@1 or mAP of each."""
    if "average" in scored:
        shown = [("average", metric) for metric in ("mAP", "nDCG")]
    else:
        shown = [(direction, _headline_of(one.values)) for direction, one in scored.items()]
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
