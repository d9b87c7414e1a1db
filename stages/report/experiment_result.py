"""What the report shows of one experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import tables as schemas
from stages.report.tables import Intervals, Scores


class Hit(NamedTuple):
    """One clip in the answer to a query. A plain tuple of the four does as well."""

    label: str
    score: float
    audio: bytes | None
    is_match: bool


@dataclass(frozen=True)
class QueryExample:
    """A caption, and the clips that were found for it.

    Attributes:
        caption: the query.
        rank: of its best right answer, from 1.
        expected_label: name of the right clip.
        expected_audio: its sound from `audio_snippet.encode_snippet`, if it has any.
        top: the first few clips found, best first.
    """

    caption: str
    rank: float
    expected_label: str
    expected_audio: bytes | None = field(repr=False)
    top: Sequence[Hit | tuple[str, float, bytes | None, bool]] = field(repr=False)


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """What the report shows of one experiment.

    Attributes:
        name, corpus, encoders, caption_source, protocol, transform: as configured.
        metrics: the numbers. Directions are those of `tables.DIRECTIONS` and metrics those of `tables.METRICS`, or
            others, which stand after them; `n_queries` and `n_items` are the sizes.
        chance: numbers of random rankings, in the shape of `metrics`; what is missing is left out.
        intervals: both ends of 95 % confidence intervals, in the shape of `metrics`.
        note: a remark of the one who configured it.
        paper: published numbers, in the shape and units of `metrics`.
        seeds_of: what experiments that differ in the seed only are called together; empty for one by itself.
        classes: rows of `cache.tables.CLASSES` on the whole corpus; empty without classes.
        heatmap: similarities (captions x clips), ordered so that matches lie on the diagonal.
        caption_labels, clip_labels: names of its rows and columns, shown under the pointer.
        queries: well and badly answered ones. Sorted by rank, the first half is shown as the
            best and the second as the worst.
    """

    name: str
    corpus: str
    encoders: Sequence[str]
    caption_source: str
    protocol: str
    metrics: Scores
    chance: Scores = field(default_factory=dict)
    intervals: Intervals = field(default_factory=dict)
    transform: str = "none"
    note: str = ""
    paper: Scores = field(default_factory=dict)
    seeds_of: str = ""
    classes: pl.DataFrame = field(default_factory=lambda: schemas.table([], schemas.CLASSES), repr=False)
    heatmap: NDArray[np.float32] | None = field(default=None, repr=False)
    caption_labels: Sequence[str] = ()
    clip_labels: Sequence[str] = ()
    queries: Sequence[QueryExample] = ()
