"""Reads what `score` wrote of an experiment, with the sound of the clips in its examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.experiments import experiments_of
from pipeline.config.params import FEATURES, Params
from pipeline.formats.avlnet_pickles import FEATURES as PUBLISHED
from stages.report.experiment_result import ExperimentResult, Hit, QueryExample
from stages.report.tables import WHOLE

Snippet = Callable[[str, str], bytes | None]
"""(corpus, clip id) -> the clip's sound as a file a browser plays, if it has any."""


def read_results(params: Params, snippet: Snippet, corpus: str = "") -> tuple[list[ExperimentResult], dict[str, str]]:
    """Reads the results of the experiments whose encoders are in params.yaml.

    Args:
        params: which embeddings and subsets there are.
        snippet: gives the sound of a clip.
        corpus: of one corpus alone; empty for all.

    Returns:
        Experiments with numbers; and name -> reason of those without.

    Raises:
        UserError: there are no results yet, or a file cannot be read.
    """
    results, empty = [], {}
    for one in [corpus] if corpus else params.corpora:
        folders = [layout.results(one, subset) for subset in params.subsets_of(one)]
        subsets = {folder.name: Scored.read(folder) for folder in folders if folder.is_dir()}
        if (whole := subsets.pop(WHOLE, None)) is None:
            continue
        encoders = params.encoders_of(one) | {f"{FEATURES}{feature}" for feature in PUBLISHED}
        order = {experiment.name: number for number, experiment in enumerate(experiments_of(one))}
        for name in sorted(whole.details, key=lambda name: order.get(name, len(order))):
            details = whole.details[name]
            if not encoders.issuperset(details["encoders"]):
                continue
            if "nothing" in details:
                empty[name] = details["nothing"]
                continue
            try:
                results.append(read_result(name, whole, subsets, snippet))
            except KeyError as error:
                raise UserError(
                    f"The results in {whole.folder} lack {error}, an older hearonce wrote them: run `dvc repro`."
                ) from None
    if not results and not empty and not corpus:
        raise UserError("There are no results yet: run `dvc repro`.")
    return results, empty


@dataclass(frozen=True)
class Scored:
    """What `score` wrote on one subset of a corpus."""

    folder: Path
    details: dict[str, Any]
    metrics: dict[str, Any]
    similarity: dict[str, Any]
    classes: pl.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Scored:
        """Reads all of it.

        Raises:
            UserError: a file is missing or damaged.
        """
        try:
            with np.load(folder / "similarity.npz") as stored:
                similarity = {name: stored[name] for name in stored.files}
        except (OSError, ValueError) as error:
            raise UserError(f"The results in {folder} cannot be read ({error}): run `dvc repro`.") from None
        details, metrics = (_read_json(folder / f"{name}.json") for name in ("details", "metrics"))
        return cls(
            folder, details, metrics, similarity, schemas.read_table(folder / "classes.parquet", schemas.CLASSES)
        )


def read_result(name: str, whole: Scored, subsets: Mapping[str, Scored], snippet: Snippet) -> ExperimentResult:
    """What one experiment scored.

    Args:
        name: of the experiment.
        whole: results on the whole corpus.
        subsets: on its subsets; those it is not scored on are passed over.
        snippet: gives the sound of a clip.
    """
    details = whole.details[name]
    there = {WHOLE: whole, **subsets}
    scored = {subset: one for subset, one in there.items() if one.metrics.get(name)}
    beside = {subset: one.details[name] for subset, one in scored.items()}
    sources = details["captions"]
    labels = {kind: whole.similarity.get(f"{name}/{kind}", np.array([])).tolist() for kind in ("captions", "clips")}
    return ExperimentResult(
        name=name,
        corpus=details["corpus"],
        encoders=details["encoders"],
        caption_source=sources if isinstance(sources, str) else " + ".join(dict.fromkeys(sources)),
        protocol=details["protocol"],
        transform=details["transform"],
        metrics={subset: _numbers(one.metrics[name], beside[subset]["counts"]) for subset, one in scored.items()},
        chance={subset: _numbers(one["chance"]) for subset, one in beside.items()},
        intervals={subset: _intervals(one["intervals"]) for subset, one in beside.items()},
        note=details["note"],
        paper=details["paper"],
        seeds_of=details["seeds_of"],
        classes=whole.classes.filter(pl.col("experiment") == name),
        heatmap=whole.similarity.get(f"{name}/sims"),
        caption_labels=labels["captions"],
        clip_labels=labels["clips"],
        queries=[_example(one, details["corpus"], snippet) for one in details["examples"]],
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The results in {path.parent} cannot be read ({error}): run `dvc repro`.") from None


def _numbers(directions: dict[str, Any], counts: dict[str, Any] | None = None) -> dict[str, Any]:
    """Scores as floats (null is nan), with the sizes joined in."""
    return {
        direction: {name: float("nan") if value is None else value for name, value in values.items()}
        | (counts or {}).get(direction, {})
        for direction, values in directions.items()
    }


def _intervals(directions: dict[str, Any]) -> dict[str, Any]:
    return {
        direction: {name: (ends[0], ends[1]) for name, ends in values.items()}
        for direction, values in directions.items()
    }


def _example(record: dict[str, Any], corpus: str, snippet: Snippet) -> QueryExample:
    top = [Hit(one["clip"], one["similarity"], snippet(corpus, one["clip"]), one["is_match"]) for one in record["top"]]
    expected = record["expected"]
    return QueryExample(record["caption"], record["rank"], expected, snippet(corpus, expected), top)
