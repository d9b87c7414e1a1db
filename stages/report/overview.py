"""Tables of many experiments: one row each, one column a metric, as papers print them.

Each corpus and protocol has a table of the whole corpus with all directions, and one of its subsets with the few
numbers that the protocol is judged by. Experiments that differ in the seed only share a row. Variants of AVLnet, which
retrieve in other directions, have tables of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from pipeline.config.layout import MODALITIES
from stages.report import tables
from stages.report.results import ExperimentResult
from stages.report.tables import WHOLE, Scores

SHOWN = {
    "paired-retrieval": ("R@1", "R@5", "R@10", "MedR"),
    "multi-instance": ("mAP", "nDCG"),
    "multiple-choice": ("accuracy",),
    "avlnet": ("R@1", "R@5", "R@10", "MedR"),
    "zero-shot-classification": ("top-1", "top-1 SD", "top-5", "mAP@10", "mAP"),
}
"""Metrics in the table of the whole corpus, for each direction."""
HEADLINES = {
    "paired-retrieval": (("text_to_clip", "R@1"), ("clip_to_text", "R@1")),
    "multi-instance": (("average", "mAP"), ("average", "nDCG")),
    "multiple-choice": (("inter_video", "accuracy"), ("intra_video", "accuracy")),
    "zero-shot-classification": (("clip_to_class", "top-1"), ("class_to_clip", "mAP")),
    "avlnet": (
        ("sound_to_picture", "R@1"),
        ("picture_to_sound", "R@1"),
        ("text_to_sound_picture", "R@1"),
        ("sound_text_to_picture", "R@1"),
    ),
}
"""What each protocol is judged by in the table of subsets."""


class Column(NamedTuple):
    """Where a column's numbers come from, and its two headings, of which the upper one may span several."""

    subset: str
    direction: str
    metric: str
    group: str
    label: str


@dataclass(frozen=True)
class Cell:
    """A number; of several seeds their mean.

    Attributes:
        value: nan where there is none.
        deviation: sample standard deviation over seeds (n - 1 in the denominator); None of one seed.
        n_seeds: that have this number.
        interval: both ends of the 95 % confidence interval, of an experiment by itself.
        paper: the published value.
    """

    value: float
    deviation: float | None = None
    n_seeds: int = 1
    interval: tuple[float, float] | None = None
    paper: float | None = None


@dataclass(frozen=True)
class Row:
    """An experiment, or several that differ in the seed only: what it is called, and its `members`."""

    name: str
    members: Sequence[ExperimentResult]
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Overview:
    """A table: experiments x metrics.

    Attributes:
        corpus, protocol: of all its experiments.
        of_subsets: whether it shows subsets instead of one set of clips.
        columns: c of them.
        rows: each with c cells.
        chance: c numbers of a random ranking, as the first experiment has them; nan where unknown.
    """

    corpus: str
    protocol: str
    of_subsets: bool
    columns: Sequence[Column]
    rows: Sequence[Row]
    chance: Sequence[float]

    @property
    def metric(self) -> str:
        """The metric of all columns; empty if there are several."""
        metrics = {column.metric for column in self.columns}
        return metrics.pop() if len(metrics) == 1 else ""

    @property
    def has_chance(self) -> bool:
        """Whether the level of chance of any column is known."""
        return any(np.isfinite(self.chance))

    @property
    def has_seeds(self) -> bool:
        """Whether a row stands for several seeds."""
        return any(len(row.members) > 1 for row in self.rows)

    @property
    def has_paper(self) -> bool:
        """Whether any number has a published one."""
        return any(cell.paper is not None for row in self.rows for cell in row.cells)

    @property
    def groups(self) -> list[list[Column]]:
        """Columns that stand together under one upper heading."""
        return [list(columns) for _, columns in groupby(self.columns, key=lambda column: column.group)]

    def best(self, place: int) -> set[int]:
        """Rows with the best number of a column as it is written; none where there is nothing to compare."""
        metric = self.columns[place].metric
        written = {n: tables.number(metric, row.cells[place].value) for n, row in enumerate(self.rows)}
        values = {n: float(text.replace(",", "")) for n, text in written.items() if text != tables.NONE}
        if len(values) < 2 or not tables.arrow(metric):
            return set()
        best = (min if tables.arrow(metric) == "↓" else max)(values.values())
        return {n for n, value in values.items() if value == best}


def overviews(results: Sequence[ExperimentResult], subset: str = WHOLE) -> Iterator[Overview]:
    """The tables of all corpora, in the order of the experiments.

    Args:
        results: of all experiments.
        subset: the set of clips that the wide tables show; without it, another than the whole is left to the tables
            of subsets.
    """
    together: dict[tuple[str, str, tuple[str, ...]], list[ExperimentResult]] = {}
    for result in results:
        directions = _directions(result)
        apart = directions if result.protocol == "avlnet" or is_cross_modal(directions) else ()
        together.setdefault((result.corpus, result.protocol, apart), []).append(result)
    for (corpus, protocol, _), members in together.items():
        groups: dict[str, list[ExperimentResult]] = {}
        for result in members:
            groups.setdefault(f"seeds {result.seeds_of}" if result.seeds_of else f"name {result.name}", []).append(
                result
            )
        for of_subsets, columns in ((False, _wide(members, subset)), (True, _by_subset(members, subset))):
            if columns:
                rows = [_row(group, columns) for group in groups.values()]
                chance = [_first(members, column) for column in columns]
                yield Overview(corpus, protocol, of_subsets, columns, rows, chance)


def is_cross_modal(directions: Collection[str]) -> bool:
    """Whether clips are ranked by one modality for another, without captions."""
    return bool(directions) and all(set(direction.split("_to_")) <= set(MODALITIES) for direction in directions)


def _directions(result: ExperimentResult) -> tuple[str, ...]:
    return tuple(sorted({direction for values in result.metrics.values() for direction in values}))


def _wide(members: Sequence[ExperimentResult], subset: str) -> list[Column]:
    metrics = SHOWN.get(members[0].protocol, ())
    directions = tables.in_order(one for result in members for one in result.metrics.get(subset, {}))
    return [
        Column(subset, direction, metric, tables.direction_name(direction), metric)
        for direction in directions
        for metric in metrics
        if any(metric in result.metrics.get(subset, {}).get(direction, {}) for result in members)
    ]


def _by_subset(members: Sequence[ExperimentResult], subset: str) -> list[Column]:
    if subset != WHOLE:
        return []
    headlines = HEADLINES.get(members[0].protocol, ())
    if is_cross_modal(own := _directions(members[0])):
        headlines = tuple((direction, "R@1") for direction in own)
    directions, metrics = ({one[at] for one in headlines} for at in (0, 1))

    def label(direction: str, metric: str) -> str:
        """What tells the columns of one subset from each other."""
        name = tables.direction_name(direction)
        return metric if len(directions) == 1 else name if len(metrics) == 1 else f"{name} {metric}"

    subsets = dict.fromkeys(one for result in members for one in result.metrics if one != WHOLE)
    return [
        Column(one, direction, metric, one, label(direction, metric))
        for one in subsets
        for direction, metric in headlines
        if any(metric in result.metrics.get(one, {}).get(direction, {}) for result in members)
    ]


def _row(members: Sequence[ExperimentResult], columns: Sequence[Column]) -> Row:
    return Row(members[0].seeds_of or members[0].name, members, [_cell(members, column) for column in columns])


def _cell(members: Sequence[ExperimentResult], column: Column) -> Cell:
    given = [_at(result.metrics, column) for result in members]
    values = [value for value in given if value is not None and np.isfinite(value)]
    paper = next((value for result in members if (value := _at(result.paper, column)) is not None), None)
    if not values:
        return Cell(float("nan"), n_seeds=0, paper=paper)
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    alone = members[0].intervals.get(column.subset, {}).get(column.direction, {}) if len(members) == 1 else {}
    return Cell(float(np.mean(values)), deviation, len(values), alone.get(column.metric), paper)


def _first(members: Sequence[ExperimentResult], column: Column) -> float:
    found = (_at(result.chance, column) for result in members)
    return next((value for value in found if value is not None), float("nan"))


def _at(scores: Scores, column: Column) -> float | None:
    by_metric: Mapping[str, float] = scores.get(column.subset, {}).get(column.direction, {})
    return by_metric.get(column.metric)
