"""Reads what `score` wrote of an experiment, with the sound of the clips in its examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.experiments import experiments_of
from pipeline.config.params import FEATURES, Params
from pipeline.formats.avlnet_pickles import FEATURES as PUBLISHED
from stages.report.tables import WHOLE, Intervals, Scores


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


Snippet = Callable[[str, str], bytes | None]
"""(corpus, clip id) -> the clip's sound as a file a browser plays, if it has any."""


def read_results(params: Params, snippet: Snippet, corpus: str = "") -> tuple[list[ExperimentResult], dict[str, str]]:
    """Reads the results of the experiments whose encoders are in params.yaml.

    Args:
        params: which embeddings and subsets there are.
        snippet: gives the sound of a clip.
        corpus: of one corpus alone; empty for all.

    Returns:
        Experiments with numbers; and name -> reason of those without.

    Raises:
        UserError: there are no results yet, or a file cannot be read.
    """
    results, empty = [], {}
    for one in [corpus] if corpus else params.corpora:
        folders = [layout.results(one, subset) for subset in params.subsets_of(one)]
        subsets = {folder.name: Scored.read(folder) for folder in folders if folder.is_dir()}
        if (whole := subsets.pop(WHOLE, None)) is None:
            continue
        encoders = params.encoders_of(one) | {f"{FEATURES}{feature}" for feature in PUBLISHED}
        order = {experiment.name: number for number, experiment in enumerate(experiments_of(one))}
        for name in sorted(whole.details, key=lambda name: order.get(name, len(order))):
            details = whole.details[name]
            if not encoders.issuperset(details["encoders"]):
                continue
            if "nothing" in details:
                empty[name] = details["nothing"]
                continue
            try:
                results.append(read_result(name, whole, subsets, snippet))
            except KeyError as error:
                raise UserError(
                    f"The results in {whole.folder} lack {error}, an older hearonce wrote them: run `dvc repro`."
                ) from None
    if not results and not empty and not corpus:
        raise UserError("There are no results yet: run `dvc repro`.")
    return results, empty


@dataclass(frozen=True)
class Scored:
    """What `score` wrote on one subset of a corpus."""

    folder: Path
    details: dict[str, Any]
    metrics: dict[str, Any]
    similarity: dict[str, Any]
    classes: pl.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Scored:
        """Reads all of it.

        Raises:
            UserError: a file is missing or damaged.
        """
        try:
            with np.load(folder / "similarity.npz") as stored:
                similarity = {name: stored[name] for name in stored.files}
        except (OSError, ValueError) as error:
            raise UserError(f"The results in {folder} cannot be read ({error}): run `dvc repro`.") from None
        details, metrics = (_read_json(folder / f"{name}.json") for name in ("details", "metrics"))
        return cls(
            folder, details, metrics, similarity, schemas.read_table(folder / "classes.parquet", schemas.CLASSES)
        )


def read_result(name: str, whole: Scored, subsets: Mapping[str, Scored], snippet: Snippet) -> ExperimentResult:
    """What one experiment scored.

    Args:
        name: of the experiment.
        whole: results on the whole corpus.
        subsets: on its subsets; those it is not scored on are passed over.
        snippet: gives the sound of a clip.
    """
    details = whole.details[name]
    there = {WHOLE: whole, **subsets}
    scored = {subset: one for subset, one in there.items() if one.metrics.get(name)}
    beside = {subset: one.details[name] for subset, one in scored.items()}
    sources = details["captions"]
    labels = {kind: whole.similarity.get(f"{name}/{kind}", np.array([])).tolist() for kind in ("captions", "clips")}
    return ExperimentResult(
        name=name,
        corpus=details["corpus"],
        encoders=details["encoders"],
        caption_source=sources if isinstance(sources, str) else " + ".join(dict.fromkeys(sources)),
        protocol=details["protocol"],
        transform=details["transform"],
        metrics={subset: _numbers(one.metrics[name], beside[subset]["counts"]) for subset, one in scored.items()},
        chance={subset: _numbers(one["chance"]) for subset, one in beside.items()},
        intervals={subset: _intervals(one["intervals"]) for subset, one in beside.items()},
        note=details["note"],
        paper=details["paper"],
        seeds_of=details["seeds_of"],
        classes=whole.classes.filter(pl.col("experiment") == name),
        heatmap=whole.similarity.get(f"{name}/sims"),
        caption_labels=labels["captions"],
        clip_labels=labels["clips"],
        queries=[_example(one, details["corpus"], snippet) for one in details["examples"]],
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
