"""`hearonce score EXPERIMENT`: embedding caches -> metrics per subset, ranks per query, curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

from cache import tables as schemas
from cache.durable import new_file
from pipeline import layout
from pipeline.config import ExperimentConfig, load_experiment
from pipeline.summary import Summary
from stages.score.examples import best_and_worst, heatmap
from stages.score.inputs import Inputs, NothingToScore, read_inputs
from stages.score.metrics import recall_at
from stages.score.paired_retrieval import DirectionResult, PairedRetrieval
from stages.score.subsets import ALL, read_subset

Results = dict[str, dict[str, DirectionResult]]


def score(experiment: Annotated[str, typer.Argument(help="An experiment of configs/experiments/.")]) -> None:
    """Score an experiment over the cached embeddings, for every subset at once."""
    config = load_experiment(experiment)
    summary = Summary(f"score {experiment}", unit="captions")
    with summary.timed("read"):
        try:
            inputs = read_inputs(config)
        except NothingToScore as reason:
            _write_nothing(experiment, config, str(reason))
            summary.remark(str(reason))
            print(summary.line(), flush=True)
            return
        names = [ALL, *config.subsets]
        subsets = {name: read_subset(config.corpus, name, inputs.clip_ids, summary.remark) for name in names}
    with summary.timed("score"):
        retrieval = PairedRetrieval(inputs.sims, inputs.paired)
        results = {
            name: retrieval.score(np.array([clip_id in members for clip_id in inputs.clip_ids]))
            for name, members in subsets.items()
        }
    with summary.timed("write"):
        folder = layout.results(experiment)
        _write_json(folder / "metrics.json", _values(results, "values"))
        details = {
            "experiment": experiment,
            **config.model_dump(),
            "chance": _values(results, "chance"),
            "counts": {name: {d: _counts(r) for d, r in both.items()} for name, both in results.items()},
            "n_clips_missing": inputs.n_clips_missing,
            "examples": best_and_worst(inputs, results[ALL]["text_to_clip"]),
        }
        _write_json(folder / "details.json", details)
        schemas.write_table(_ranks(inputs, results), schemas.RANKS, folder / "ranks.parquet")
        _write_recall(results[ALL], folder / "recall.csv")
        with new_file(folder / "similarity.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **heatmap(inputs))  # type: ignore[arg-type]
    summary.wanted = summary.computed = len(results[ALL]["text_to_clip"].queries)
    values, chance = (getattr(results[ALL]["text_to_clip"], one) for one in ("values", "chance"))
    shown = [f"{name} {values[name]:.1f} (chance {chance[name]:.1f})" for name in ("R@1", "R@10", "MedR")]
    summary.remark(", ".join(shown))
    print(summary.line(), flush=True)


def _write_nothing(experiment: str, config: ExperimentConfig, reason: str) -> None:
    """The files of an experiment without numbers, so that one empty corpus does not keep others from the report."""
    folder = layout.results(experiment)
    _write_json(folder / "metrics.json", {})
    _write_json(folder / "details.json", {"experiment": experiment, **config.model_dump(), "nothing": reason})
    schemas.write_table(schemas.table([], schemas.RANKS), schemas.RANKS, folder / "ranks.parquet")
    _write_lines(folder / "recall.csv", ["k,text_to_clip,clip_to_text", "1,0,0"])
    with new_file(folder / "similarity.npz") as temporary, temporary.open("wb") as file:
        np.savez(file)


def _write_lines(path: Path, lines: list[str]) -> None:
    with new_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _values(results: Results, which: str) -> dict[str, dict[str, dict[str, float | None]]]:
    return {
        name: {
            direction: {
                metric: None if np.isnan(value) else round(value, 6) for metric, value in getattr(one, which).items()
            }
            for direction, one in both.items()
        }
        for name, both in results.items()
    }


def _counts(result: DirectionResult) -> dict[str, int]:
    return {"n_queries": len(result.queries), "n_items": result.n_items}


def _write_json(path: Path, data: object) -> None:
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _ranks(inputs: Inputs, results: Results) -> pl.DataFrame:
    parts = []
    for name, both in results.items():
        for direction, one in both.items():
            ids = inputs.caption_ids if direction == "text_to_clip" else inputs.clip_ids
            columns = {
                "subset": [name] * len(one.queries),
                "direction": [direction] * len(one.queries),
                "query_id": [ids[query] for query in one.queries],
                "rank": one.ranks,
                "average_precision": one.average_precision,
                "ndcg": one.ndcg,
                "n_relevant": one.n_relevant.astype(np.int64),
                "n_items": [one.n_items] * len(one.queries),
            }
            parts.append(pl.DataFrame(columns, schema=dict(schemas.RANKS)))
    return pl.concat(parts)


def _write_recall(both: dict[str, DirectionResult], path: Path) -> None:
    """Recall over k, a curve that `dvc plots` draws."""
    n_items = max(one.n_items for one in both.values())
    ks = sorted({*range(1, min(n_items, 20) + 1), *np.geomspace(1, n_items, 30).astype(int).tolist()})
    lines = ["k," + ",".join(both)]
    lines += [",".join([str(k), *(f"{recall_at(one.ranks, k):.4f}" for one in both.values())]) for k in ks]
    _write_lines(path, lines)
