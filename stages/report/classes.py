"""Numbers per class: the best and the worst ones, and all of them up to a limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from stages.report import tables

N_EXTREME = 10
MAX_CLASSES = 300


class ClassRow(NamedTuple):
    """A class and its numbers as written, one for each column."""

    name: str
    numbers: list[str]


class ClassTable(NamedTuple):
    """Attributes:
    columns: direction and metric of each; the first one orders the classes.
    n_classes: in all.
    best, worst: the extremes, the most extreme first; `worst` holds none of `best`.
    rows: all classes from best to worst, as many as are wanted at most.
    """

    columns: list[tuple[str, str]]
    n_classes: int
    best: Sequence[ClassRow]
    worst: Sequence[ClassRow]
    rows: Sequence[ClassRow]


def class_table(classes: pl.DataFrame, limit: int = MAX_CLASSES) -> ClassTable | None:
    """The table of an experiment; None if it has no classes, or no number differs between them.

    Columns in which all classes have the same number are left out: in multi-instance retrieval a sentence searches all
    clips whatever the class.

    Args:
        classes: rows of `cache.tables.CLASSES` of one experiment.
        limit: of `rows`.
    """
    if classes.is_empty():
        return None
    metrics = [name for name in tables.METRICS if name in set(classes["metric"])]
    places = [(direction, metric) for direction in tables.in_order(classes["direction"].unique()) for metric in metrics]
    parts = classes.partition_by("direction", "metric", as_dict=True)
    columns = {one: dict(parts[one].select("class", "value").iter_rows()) for one in places if one in parts}
    varied = {
        one: values for one, values in columns.items() if len({tables.number(one[1], v) for v in values.values()}) > 1
    }
    if not varied:
        return None
    (_, metric), first = next(iter(varied.items()))
    scored = [name for name, value in first.items() if value is not None and value == value]
    descending = tables.arrow(metric) != "↓"
    order = sorted(scored, key=lambda name: (-first[name] if descending else first[name], name))
    order += sorted(set(first) - set(scored))
    rows = [
        ClassRow(name, [tables.number(metric, values.get(name)) for (_, metric), values in varied.items()])
        for name in order
    ]
    n_best = min(N_EXTREME, len(rows))
    scored_rows = rows[: len(scored)]
    worst = scored_rows[max(n_best, len(scored) - N_EXTREME) :][::-1]
    return ClassTable(list(varied), len(rows), scored_rows[:n_best], worst, rows[:limit])
