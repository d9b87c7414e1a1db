"""The files that scoring leaves: metrics, what stands beside them, numbers per query, curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cache import tables as schemas
from cache.durable import new_file
from pipeline.config.experiments import ExperimentConfig
from stages.score.cells import Cell
from stages.score.functional.metrics import recall_at
from stages.score.scored import Scored

Directions = Mapping[str, Scored]


@dataclass(frozen=True)
class Result:
    """What an experiment scored.

    Attributes:
        experiment: its options.
        cell: what it scored.
        whole: whether on the whole corpus, of which there are examples and a sample of the similarities.
    """

    experiment: ExperimentConfig
    cell: Cell
    whole: bool


def write_results(folder: Path, found: Mapping[str, Result]) -> None:
    """Writes what the experiments of a corpus scored on a subset.

    An experiment without numbers is among the details, so that one empty corpus does not keep others from the report.

    Args:
        folder: of the results.
        found: by experiment.
    """
    scored = {name: one.cell.directions for name, one in found.items() if not one.cell.nothing}
    _write_json(folder / "metrics.json", {name: _numbers(one, "values") for name, one in scored.items()})
    _write_json(folder / "details.json", {name: _details(name, one) for name, one in found.items()})
    _write_queries(folder / "queries.parquet", scored)
    _write_classes(folder / "classes.parquet", scored)
    _write_recall(folder / "recall.csv", scored)
    arrays = {f"{name}/{kind}": values for name, one in found.items() for kind, values in one.cell.heatmap.items()}
    _write_arrays(folder / "similarity.npz", arrays)


def _details(name: str, one: Result) -> dict[str, Any]:
    details: dict[str, Any] = {"experiment": name, **one.experiment.model_dump()}
    if one.cell.nothing:
        return {**details, "nothing": one.cell.nothing}
    beside = _beside(one.cell.directions)
    if not one.whole:
        return beside
    return {**details, **beside, "n_clips_missing": one.cell.n_clips_missing, "examples": one.cell.examples}


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


def _write_recall(path: Path, experiments: Mapping[str, Directions]) -> None:
    """Recall over k of each experiment and direction, curves that `dvc plots` draws."""
    lines = ["experiment,direction,k,recall"]
    for name, directions in experiments.items():
        for direction, one in directions.items():
            if "_to_" not in direction or not one.queries:
                continue
            ks = sorted({*range(1, min(one.n_items, 20) + 1), *np.geomspace(1, one.n_items, 30).astype(int).tolist()})
            ranks = one.ranks()
            lines += [f"{name},{direction},{k},{recall_at(ranks, k):.4f}" for k in ks]
    with new_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    with new_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
