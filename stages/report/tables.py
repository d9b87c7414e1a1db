"""Score tables: which columns an experiment has, and how its numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

import polars as pl

from pipeline.config.layout import MODALITIES

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By subset, direction and metric. R@k and top-k are percent, mAP and nDCG fractions."""

Intervals = Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]
"""Likewise, both ends of each number's 95 % confidence interval."""

DIRECTIONS = {
    "text_to_clip": "Text → clip",
    "clip_to_text": "Clip → text",
    "average": "Average",
    "inter_video": "Inter-video",
    "intra_video": "Intra-video",
    "clip_to_class": "Clip → class",
    "class_to_clip": "Class → clip",
    "folds": "Over folds",
    "sound_to_picture": "Audio → video",
    "picture_to_sound": "Video → audio",
    "text_to_sound_picture": "Text → audio + video",
    "sound_picture_to_text": "Audio + video → text",
    "sound_text_to_picture": "Text + audio → video",
    "picture_to_sound_text": "Video → text + audio",
    **{f"{query}_to_{gallery}": f"{query.capitalize()} → {gallery}" for query, gallery in permutations(MODALITIES, 2)},
}
DIRECTION_MEANINGS = {
    "text_to_clip": "Each caption is a query and ranks the clips.",
    "clip_to_text": "Each clip is a query and ranks the captions.",
    "average": "The mean of both directions, each counting one half.",
    "inter_video": "Questions whose five clips come from five videos.",
    "intra_video": "Questions whose five clips come from one video.",
    "clip_to_class": "Each clip ranks the classes, by the texts that its prompts make of them.",
    "class_to_clip": "Each class ranks the clips; every class counts alike.",
    "folds": "The mean over the folds of the corpus, and the sample standard deviation (SD).",
    "sound_to_picture": "The audio of each clip is a query and ranks the videos of all clips.",
    "picture_to_sound": "The video of each clip is a query and ranks the audio of all clips.",
    "text_to_sound_picture": "Each caption is a query and ranks the clips by audio and video together.",
    "sound_picture_to_text": "Audio and video of each clip are a query and rank the captions.",
    "sound_text_to_picture": "Each caption with its clip's audio is a query and ranks the videos of all clips.",
    "picture_to_sound_text": "The video of each clip is a query and ranks the captions with their clips' audio.",
    **{
        f"{query}_to_{gallery}": f"Each clip's {query} is a query and ranks all clips by their {gallery}."
        for query, gallery in permutations(MODALITIES, 2)
    },
}
WHOLE = "all"
"""The subset that stands first."""
SIZES = {"n_queries": "Queries", "n_items": "Items"}
NONE = "–"


class Metric(NamedTuple):
    """How a metric is shown: its decimals, its better end, and what it means."""

    decimals: int
    arrow: str
    meaning: str


METRICS = {
    "top-1": Metric(1, "↑", "Of 100 clips, how many have one of their classes in first place."),
    "top-5": Metric(1, "↑", "The same among the first five places."),
    "macro top-1": Metric(1, "↑", "The mean of top-1 over the classes, each counting alike."),
    "mAP@10": Metric(3, "↑", "The mean of 1 / rank of a clip's class, 0 beyond the tenth place."),
    "R@1": Metric(1, "↑", "Recall at 1: of 100 queries, how many find a right answer in first place."),
    "R@5": Metric(1, "↑", "The same among the first five places."),
    "R@10": Metric(1, "↑", "The same among the first ten places."),
    "R@50": Metric(1, "↑", "The same among the first fifty places."),
    "MedR": Metric(
        1,
        "↓",
        "Median rank: half of the queries find their best right answer at this place or before. 1 is best.",
    ),
    "MeanR": Metric(1, "↓", "Mean rank of the best right answer. A few bad misses move it far."),
    "mAP": Metric(
        3,
        "↑",
        "Mean average precision, 0 to 1: how far up all right answers of a query stand, not just the first.",
    ),
    "nDCG": Metric(
        3,
        "↑",
        "Normalised discounted cumulative gain, 0 to 1: partly right answers count in part, "
        "higher places count more. Looks at as many places as a query has relevant items; with "
        "only one, it equals recall at 1.",
    ),
    "accuracy": Metric(1, "↑", "Multiple choice: of 100 questions, how many pick the right clip of those offered."),
    "top-1 SD": Metric(1, "", "Sample standard deviation of top-1 over the folds."),
    "top-5 SD": Metric(1, "", "The same of top-5."),
    "mAP SD": Metric(3, "", "The same of mAP."),
}


class Line(NamedTuple):
    """One row of a table.

    Attributes:
        kind: "value", "interval", "chance", "paper", or "difference" of ours from the paper's.
        subset: which the numbers are of.
        numbers: one for each column.
        sizes: queries and items; empty below a value.
    """

    kind: str
    subset: str
    numbers: list[str]
    sizes: list[str]


def direction_name(direction: str) -> str:
    """What the page calls a direction."""
    return DIRECTIONS.get(direction, direction.replace("_", " "))


def arranged(scores: Scores) -> Scores:
    """The same scores, the subset `all` first and directions in the order of DIRECTIONS."""
    return {
        subset: {direction: scores[subset][direction] for direction in in_order(scores[subset])}
        for subset in sorted(scores, key=lambda name: name != WHOLE)
    }


def in_order(directions: Iterable[str]) -> list[str]:
    """Each direction once: known ones in the order of DIRECTIONS, then others as they come."""
    given = dict.fromkeys(directions)
    return [name for name in DIRECTIONS if name in given] + [name for name in given if name not in DIRECTIONS]


def columns(scores: Scores) -> list[str]:
    """The metrics of an experiment: known ones in their order, then others as they come."""
    given = dict.fromkeys(m for subset in scores.values() for row in subset.values() for m in row)
    known = [name for name in METRICS if name in given]
    return known + [name for name in given if name not in METRICS and name not in SIZES]


def arrow(metric: str) -> str:
    """Up or down, whichever is better; empty where unknown."""
    return METRICS[metric].arrow if metric in METRICS else ""


def lines(
    direction: str, metrics: Sequence[str], scores: Scores, chance: Scores, paper: Scores, intervals: Intervals
) -> list[Line]:
    """The rows of one direction: for each subset its numbers, their intervals, chance level and published values."""
    rows = []
    for subset, by_direction in scores.items():
        if direction not in by_direction:
            continue
        own = by_direction[direction]
        sizes = [f"{own[size]:,.0f}" if size in own else NONE for size in SIZES]
        rows.append(Line("value", subset, [number(metric, own.get(metric)) for metric in metrics], sizes))
        ends = intervals.get(subset, {}).get(direction, {})
        random, published = (one.get(subset, {}).get(direction, {}) for one in (chance, paper))
        below = {
            "interval": [span(metric, ends.get(metric)) for metric in metrics],
            "chance": [number(metric, random.get(metric)) for metric in metrics],
            "paper": [number(metric, published.get(metric)) for metric in metrics],
            "difference": [difference(metric, own.get(metric), published.get(metric)) for metric in metrics],
        }
        rows += [
            Line(kind, subset, ["" if one == NONE else one for one in numbers], [""] * len(SIZES))
            for kind, numbers in below.items()
            if {*numbers} - {NONE}
        ]
    return rows


def number(metric: str, value: float | None) -> str:
    """A number as written in a table; a dash for none."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{METRICS[metric].decimals}f}" if metric in METRICS else f"{value:.3g}"


def span(metric: str, ends: tuple[float, float] | None) -> str:
    """A confidence interval as written; a dash for none."""
    if ends is None or not all(map(math.isfinite, ends)):
        return NONE
    return f"[{number(metric, ends[0])}, {number(metric, ends[1])}]"


def difference(metric: str, ours: float | None, theirs: float | None) -> str:
    """How much more ours is, with its sign; a dash where one is missing."""
    if ours is None or theirs is None or not math.isfinite(ours) or not math.isfinite(theirs):
        return NONE
    size = number(metric, abs(ours - theirs))
    return ("±" if float(size) == 0 else "+" if ours > theirs else "−") + size


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
    metrics = [name for name in METRICS if name in set(classes["metric"])]
    places = [(direction, metric) for direction in in_order(classes["direction"].unique()) for metric in metrics]
    parts = classes.partition_by("direction", "metric", as_dict=True)
    columns = {one: dict(parts[one].select("class", "value").iter_rows()) for one in places if one in parts}
    varied = {one: values for one, values in columns.items() if len({number(one[1], v) for v in values.values()}) > 1}
    if not varied:
        return None
    (_, metric), first = next(iter(varied.items()))
    scored = [name for name, value in first.items() if value is not None and value == value]
    descending = arrow(metric) != "↓"
    order = sorted(scored, key=lambda name: (-first[name] if descending else first[name], name))
    order += sorted(set(first) - set(scored))
    rows = [
        ClassRow(name, [number(metric, values.get(name)) for (_, metric), values in varied.items()]) for name in order
    ]
    n_best = min(N_EXTREME, len(rows))
    scored_rows = rows[: len(scored)]
    worst = scored_rows[max(n_best, len(scored) - N_EXTREME) :][::-1]
    return ClassTable(list(varied), len(rows), scored_rows[:n_best], worst, rows[:limit])
