"""`hearonce compare FIRST SECOND`: both experiments' numbers, their difference, and whether it is more than chance."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.experiments import load_experiment
from pipeline.config.records import CONFIGS
from pipeline.console.tables import print_table
from pipeline.console.text import did_you_mean
from stages.score.functional.uncertainty import N_PERMUTATIONS, paired_permutation_test
from stages.score.scored import Queries, per_query

METRICS = ("accuracy", "top-1", "top-5", "macro top-1", "mAP@10", "R@1", "R@5", "R@10", "R@50", "MeanR", "mAP", "nDCG")
"""Those that are means over queries. A median rank is none, and its difference no mean of differences."""
AVERAGE = "average"
AVERAGED = ("text_to_clip", "clip_to_text")
KEY = ["direction", "kind", "query_id"]

Values = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Numbers:
    """What an experiment scored.

    Attributes:
        metrics: direction -> metric -> value.
        queries: rows of `cache.tables.QUERIES` of this experiment alone.
    """

    metrics: Mapping[str, Mapping[str, float | None]]
    queries: pl.DataFrame


class Compared(NamedTuple):
    """One metric of one direction, over the queries that both experiments scored.

    Attributes:
        first, second: the metric of each experiment.
        p: two-sided p-value of no difference, from `paired_permutation_test`.
        n_queries: that both scored.
    """

    direction: str
    metric: str
    first: float
    second: float
    p: float
    n_queries: int


class Unmatched(NamedTuple):
    """Queries that only one of the experiments has, which the comparison leaves out."""

    direction: str
    kind: str
    only_first: int
    only_second: int


def compared(first: Numbers, second: Numbers, n_permutations: int = N_PERMUTATIONS) -> list[Compared]:
    """Compares each metric that both experiments have; directions without a common query are left out.

    The queries of `average` are those of both directions, each direction weighing one half however many it has.
    """
    paired = _paired(first.queries, second.queries)
    rows = []
    for direction, metrics in first.metrics.items():
        kinds = [paired.get(one, []) for one in (AVERAGED if direction == AVERAGE else (direction,))]
        for metric in METRICS:
            if metric not in metrics or metric not in second.metrics.get(direction, {}):
                continue
            parts = [values for one in kinds if (values := _values(metric, one)) is not None]
            if parts and len(parts) == len(kinds):
                rows.append(_test(direction, metric, parts, n_permutations))
    return rows


def unmatched(first: Numbers, second: Numbers) -> list[Unmatched]:
    """How many queries only one of the experiments has, by direction and kind; nothing where all match."""
    only = [
        a.join(b, on=KEY, how="anti").group_by("direction", "kind").len().rows()
        for a, b in ((first.queries, second.queries), (second.queries, first.queries))
    ]
    counts = [{(direction, kind): n for direction, kind, n in rows} for rows in only]
    places = sorted({*counts[0], *counts[1]})
    return [Unmatched(*place, counts[0].get(place, 0), counts[1].get(place, 0)) for place in places]


def _paired(first: pl.DataFrame, second: pl.DataFrame) -> dict[str, list[tuple[Queries, Queries]]]:
    """By direction, for each kind of query those that both have, in the same order."""
    both = first.join(second, on=KEY, how="inner", suffix=" of second", maintain_order="left")
    found: dict[str, list[tuple[Queries, Queries]]] = {}
    for (direction, _), rows in both.group_by("direction", "kind", maintain_order=True):
        found.setdefault(str(direction), []).append((_queries(rows, ""), _queries(rows, " of second")))
    return found


def _queries(rows: pl.DataFrame, suffix: str) -> Queries:
    columns: dict[str, Any] = {
        name: rows[name + suffix].to_numpy() for name in ("rank", "average_precision", "ndcg", "correct")
    }
    return Queries(rows["query_id"].to_list(), **columns)


def _values(metric: str, kinds: Sequence[tuple[Queries, Queries]]) -> Values | None:
    """The numbers of the kind of query that has them, without queries that either experiment left unscored."""
    for both in kinds:
        columns = [per_query(metric, one) for one in both]
        if columns[0] is not None and columns[1] is not None:
            scored = ~np.isnan(columns[0]) & ~np.isnan(columns[1])
            if scored.any():
                return columns[0][scored], columns[1][scored]
    return None


def _test(direction: str, metric: str, parts: Sequence[Values], n_permutations: int) -> Compared:
    """The mean over all parts at once is the mean of their means when each query counts 1 / (parts x its part)."""
    n_queries = sum(len(first) for first, _ in parts)
    weights = np.concatenate([np.full(len(one), n_queries / len(parts) / len(one)) for one, _ in parts])
    first, second = (np.concatenate(one) * weights for one in zip(*parts, strict=True))
    difference = paired_permutation_test(first, second, n_permutations)
    return Compared(direction, metric, float(first.mean()), float(second.mean()), difference.p, n_queries)


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
    decimals = 4 if row.metric in ("mAP", "mAP@10", "nDCG") else 2
    numbers = [f"{row.first:.{decimals}f}", f"{row.second:.{decimals}f}", f"{row.first - row.second:+.{decimals}f}"]
    return [_words(row.direction), row.metric, *numbers, f"{row.p:.4f}", f"{row.n_queries:,}"]


def _words(direction: str) -> str:
    return direction.replace("_", " ")
