"""Reads what `score` wrote of an experiment, with the sound of the clips in its examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cache import tables as schemas
from cache.errors import UserError
from pipeline import layout
from pipeline.config.params import Params
from stages.report.experiment_result import ExperimentResult, Hit, QueryExample
from stages.report.tables import WHOLE

Snippet = Callable[[str, str], bytes | None]
"""(corpus, clip id) -> the clip's sound as a file a browser plays, if it has any."""


def nothing_scored(folder: Path) -> str | None:
    """Why an experiment has no numbers, or None if it has."""
    try:
        reason = json.loads((folder / "details.json").read_text(encoding="utf-8")).get("nothing")
    except (OSError, ValueError):
        return None
    return None if reason is None else str(reason)


def read_results(params: Params, snippet: Snippet) -> tuple[list[ExperimentResult], dict[str, str]]:
    """Reads the results of all experiments of params.yaml.

    Args:
        params: which experiments and subsets there are.
        snippet: as of `read_result`.

    Returns:
        Experiments with numbers; and name -> reason of those without.

    Raises:
        UserError: there are no results yet, or a file cannot be read.
    """
    results, empty = [], {}
    for name, config in params.all_experiments().items():
        folder = layout.results(name)
        if not folder.is_dir():
            continue
        reason = nothing_scored(folder)
        if reason is not None:
            empty[name] = reason
            continue
        try:
            results.append(read_result(folder, _subsets(params, config.corpus), snippet))
        except KeyError as error:
            raise UserError(
                f"The results in {folder} lack {error}, an older hearonce wrote them: run `dvc repro`."
            ) from None
    if not results and not empty:
        raise UserError("There are no results yet: run `dvc repro`.")
    return results, empty


def _subsets(params: Params, corpus: str) -> list[Path]:
    """Folders of what has been scored on subsets of a corpus."""
    folders = [layout.subset_results(corpus, one.subset) for one in params.subsets.values() if one.corpus == corpus]
    return [folder for folder in folders if folder.is_dir()]


def read_result(folder: Path, subsets: Sequence[Path], snippet: Snippet) -> ExperimentResult:
    """Reads the results of one experiment.

    Args:
        folder: `data/results/<experiment>`.
        subsets: folders of the results on subsets of its corpus; those it is not scored on are passed over.
        snippet: gives the sound of a clip.

    Raises:
        UserError: a file is missing or no JSON.
    """
    details, metrics = _read_json(folder / "details.json"), _read_json(folder / "metrics.json")
    try:
        with np.load(folder / "similarity.npz") as stored:
            similarity = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise UserError(f"The results in {folder} cannot be read ({error}): run `dvc repro`.") from None
    corpus, name = details["corpus"], details["experiment"]
    beside: dict[str, Any] = {WHOLE: details}
    values: dict[str, Any] = {WHOLE: metrics}
    for one in subsets:
        beside[one.name] = _read_json(one / "details.json").get(name)
        values[one.name] = _read_json(one / "metrics.json").get(name)
    scored = [subset for subset in values if values[subset]]
    sources = details["captions"]
    return ExperimentResult(
        name=name,
        corpus=corpus,
        encoders=details["encoders"],
        caption_source=sources if isinstance(sources, str) else " + ".join(dict.fromkeys(sources)),
        protocol=details["protocol"],
        transform=details["transform"],
        metrics={one: _numbers(values[one], beside[one]["counts"]) for one in scored},
        chance={one: _numbers(beside[one]["chance"]) for one in scored},
        intervals={one: _intervals(beside[one]["intervals"]) for one in scored},
        note=details["note"],
        paper=details["paper"],
        seeds_of=details["seeds_of"],
        classes=schemas.read_table(folder / "classes.parquet", schemas.CLASSES),
        heatmap=similarity.get("sims"),
        caption_labels=similarity.get("captions", np.array([])).tolist(),
        clip_labels=similarity.get("clips", np.array([])).tolist(),
        queries=[_example(one, corpus, snippet) for one in details["examples"]],
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
