"""The files that scoring leaves: metrics, what stands beside them, numbers per query, curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cache import tables as schemas
from cache.durable import new_file
from pipeline.config.experiment import ExperimentConfig
from stages.score.metrics import recall_at
from stages.score.scored import Scored, Scorer

Directions = Mapping[str, Scored]


def write_experiment(folder: Path, name: str, config: ExperimentConfig, scorer: Scorer, directions: Directions) -> None:
    """Writes the results of an experiment on its whole corpus.

    Args:
        folder: of the results.
        name: of the experiment.
        config: of the experiment.
        scorer: the experiment, for single examples and a picture of its similarities.
        directions: what it scored.
    """
    _write_json(folder / "metrics.json", _numbers(directions, "values"))
    details = {
        "experiment": name,
        **config.model_dump(),
        **_beside(directions),
        "n_clips_missing": scorer.n_clips_missing,
        "examples": scorer.examples(directions),
    }
    _write_json(folder / "details.json", details)
    _write_queries(folder / "queries.parquet", {name: directions})
    _write_classes(folder / "classes.parquet", {name: directions})
    _write_recall(folder / "recall.csv", directions)
    _write_arrays(folder / "similarity.npz", scorer.heatmap())


def write_nothing(folder: Path, name: str, config: ExperimentConfig, reason: str) -> None:
    """The files of an experiment without numbers, so that one empty corpus does not keep others from the report."""
    _write_json(folder / "metrics.json", {})
    _write_json(folder / "details.json", {"experiment": name, **config.model_dump(), "nothing": reason})
    _write_queries(folder / "queries.parquet", {})
    _write_classes(folder / "classes.parquet", {})
    _write_recall(folder / "recall.csv", {})
    _write_arrays(folder / "similarity.npz", {})


def write_subset(folder: Path, experiments: Mapping[str, Directions]) -> None:
    """Writes what the experiments of a corpus scored on a subset."""
    _write_json(folder / "metrics.json", {name: _numbers(one, "values") for name, one in experiments.items()})
    _write_json(folder / "details.json", {name: _beside(one) for name, one in experiments.items()})
    _write_queries(folder / "queries.parquet", experiments)
    _write_classes(folder / "classes.parquet", experiments)


def _beside(directions: Directions) -> dict[str, Any]:
    return {
        "chance": _numbers(directions, "chance"),
        "counts": {
            name: {"n_queries": one.n_queries, "n_items": one.n_items}
            for name, one in directions.items()
            if one.queries
        },
        "intervals": {
            direction: {name: [round(end, 6) for end in ends] for name, ends in one.intervals.items()}
            for direction, one in directions.items()
        },
    }


def _numbers(directions: Directions, which: str) -> dict[str, dict[str, float | None]]:
    return {
        direction: {name: None if np.isnan(value) else round(value, 6) for name, value in getattr(one, which).items()}
        for direction, one in directions.items()
    }


def _write_json(path: Path, data: object) -> None:
    with new_file(path) as temporary:
        text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _write_queries(path: Path, experiments: Mapping[str, Directions]) -> None:
    parts = [schemas.table([], schemas.QUERIES)]
    for name, directions in experiments.items():
        for direction, scored in directions.items():
            for kind, queries in scored.queries.items():
                nothing = np.full(len(queries.ids), np.nan)
                numbers = {
                    column: nothing if getattr(queries, column) is None else getattr(queries, column)
                    for column in ("rank", "average_precision", "ndcg", "correct")
                }
                where = {"experiment": name, "direction": direction, "kind": kind}
                columns = {key: [value] * len(queries.ids) for key, value in where.items()}
                parts.append(
                    pl.DataFrame({**columns, "query_id": queries.ids, **numbers}, schema=dict(schemas.QUERIES))
                )
    schemas.write_table(pl.concat(parts), schemas.QUERIES, path)


def _write_classes(path: Path, experiments: Mapping[str, Directions]) -> None:
    rows = [
        {"experiment": name, "direction": direction, "class": label, "metric": metric, "value": value}
        for name, directions in experiments.items()
        for direction, scored in directions.items()
        for label, values in scored.classes.items()
        for metric, value in values.items()
    ]
    schemas.write_table(schemas.table(rows, schemas.CLASSES), schemas.CLASSES, path)


def _write_recall(path: Path, directions: Directions) -> None:
    """Recall over k, a curve that `dvc plots` draws."""
    names = ["text_to_clip", "clip_to_text"]
    if sides := [name for name in directions if "_to_" in name and name not in names]:
        names = sides[::-1]  # DVC draws the last column where dvc.yaml names none
    ranked = {name: directions[name] for name in names if name in directions}
    lines = [",".join(["k", *names])]
    if len(ranked) == 2:
        n_items = max(one.n_items for one in ranked.values())
        ks = sorted({*range(1, min(n_items, 20) + 1), *np.geomspace(1, n_items, 30).astype(int).tolist()})
        lines += [",".join([str(k), *(f"{recall_at(one.ranks(), k):.4f}" for one in ranked.values())]) for k in ks]
    else:
        lines.append("1,0,0")
    with new_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    with new_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
