"""`hearonce compare FIRST SECOND`: both experiments' numbers, their difference, and whether it is more than chance."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.experiments import load_experiment
from pipeline.config.records import CONFIGS
from pipeline.console.tables import print_table
from pipeline.console.text import did_you_mean
from stages.score.comparison import Compared, Numbers, compared, unmatched

WHOLE = "all"
LIKELY = 0.05
"""Rows below this p-value are printed bold."""


def compare(
    first: Annotated[str, typer.Argument(help="An experiment that has been scored.")],
    second: Annotated[str, typer.Argument(help="Another one on the same corpus.")],
    subset: Annotated[str, typer.Option(help="A subset of the corpus; the whole of it by default.")] = WHOLE,
) -> None:
    """Compare two experiments query by query: values, difference, p-value (paired permutation test)."""
    configs = [load_experiment(name) for name in (first, second)]
    corpora = [config.corpus for config in configs]
    if corpora[0] != corpora[1]:
        raise UserError(
            f"{first!r} is on corpus {corpora[0]!r} and {second!r} on {corpora[1]!r}: only experiments on the same "
            "corpus have the same queries."
        )
    sources = [source for config in configs for source in config.sources()]
    numbers = _read(first, corpora[0], subset, sources), _read(second, corpora[0], subset, sources)
    rows = compared(*numbers)
    if not rows:
        raise UserError(
            f"{first!r} ({configs[0].protocol}) and {second!r} ({configs[1].protocol}) share no query on {corpora[0]} "
            f"({subset})."
        )
    print_table(
        f"{first} and {second} on {corpora[0]} ({subset})",
        ("direction", "metric", first, second, "difference", "p", "queries"),
        [_cells(row) for row in rows],
        n_left=2,
        emphasis=[place for place, row in enumerate(rows) if row.p < LIKELY],
    )
    for one in unmatched(*numbers):
        print(
            f"{_words(one.direction)}: left out {one.only_first} {one.kind} that only {first} has and "
            f"{one.only_second} that only {second} has."
        )
    print(f"Bold: p < {LIKELY}; two-sided, not corrected for looking at {len(rows)} numbers.")


def _read(name: str, corpus: str, subset: str, sources: Sequence[str]) -> Numbers:
    """What an experiment scored; ids of queries without their caption source, so that they match across sources."""
    folder = layout.results(corpus, subset)
    if not (folder / "metrics.json").is_file():
        if subset == WHOLE:
            raise UserError(
                f"{name!r} has no results yet ({folder} is missing): add it to params.yaml and run `dvc repro`."
            )
        known = [one.stem for one in (CONFIGS / "subsets" / corpus).glob("*.yaml")]
        if subset not in known:
            raise UserError(f"No subset {subset!r} of {corpus!r}: {did_you_mean(subset, [WHOLE, *known])}")
        raise UserError(
            f"Subset {subset!r} of {corpus!r} has not been scored ({folder} is missing): add it to `subsets` of "
            "params.yaml and run `dvc repro`."
        )
    try:
        metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'metrics.json'} cannot be read ({error}): run `dvc repro`.") from None
    metrics = metrics.get(name, {})
    if not metrics:
        raise UserError(f"{name!r} has no numbers on {corpus} ({subset}){_reason(folder, name)}")
    queries = schemas.read_table(folder / "queries.parquet", schemas.QUERIES)
    prefixes = f"^(?:(?:{'|'.join(re.escape(one) for one in sources)}):)+"
    own = queries.filter(pl.col("experiment") == name)
    return Numbers(metrics, own.with_columns(pl.col("query_id").str.replace(prefixes, "")))


def _reason(folder: Path, name: str) -> str:
    try:
        reason = json.loads((folder / "details.json").read_text(encoding="utf-8")).get(name, {}).get("nothing")
    except (OSError, ValueError):
        reason = None
    return f": {reason}" if reason else ": run `dvc repro`, which says why if there is nothing to score."


def _cells(row: Compared) -> list[str]:
    decimals = 4 if row.metric in ("mAP", "nDCG") else 2
    numbers = [f"{row.first:.{decimals}f}", f"{row.second:.{decimals}f}", f"{row.first - row.second:+.{decimals}f}"]
    return [_words(row.direction), row.metric, *numbers, f"{row.p:.4f}", f"{row.n_queries:,}"]


def _words(direction: str) -> str:
    return direction.replace("_", " ")
