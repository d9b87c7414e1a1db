"""What a project has made: tables of corpora, cached embeddings, and the numbers of experiments."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import polars as pl

from cache import tables
from cache.artifact import Artifact, open_artifact
from cache.errors import UserError
from cache.tables import read_table
from pipeline.config import layout
from pipeline.config.params import load_params
from pipeline.console.text import did_you_mean
from stages.report.results import read_results

Items = Literal["clips", "captions"]
TABLES = {
    "media": tables.MEDIA,
    "clips": tables.CLIPS,
    "spans": tables.SPANS,
    "captions": tables.CAPTIONS,
    "pairs": tables.PAIRS,
    "relevancy": tables.RELEVANCY,
    "questions": tables.QUESTIONS,
    "subsets": tables.SUBSETS,
}
RESULTS = {
    "corpus": pl.String,
    "experiment": pl.String,
    "subset": pl.String,
    "direction": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "chance": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


def embeddings(corpus: str, encoder: str, items: Items | str = "clips") -> Artifact:
    """The cached embeddings of a corpus, opened lazily.

    Args:
        corpus: name in params.yaml.
        encoder: name of the encoder.
        items: `clips` or `captions`; of AVLnet also its towers.

    Returns:
        An artifact: `ids` (list of n strings), `shape`, `numpy()`, `torch()` and `dask()` (all values, (n, dim)),
        `artifact[3:7]` or `artifact[[0, 5]]` (only these rows), `description` and `len()`. Only `dask()` and
        selections read less than everything.

    Raises:
        UserError: there are none yet, or they are damaged.

    Example:
        >>> clips = hearonce.embeddings("demo", "yamnet-minilm")  # doctest: +SKIP
        >>> clips.numpy().shape, clips.ids[0]  # doctest: +SKIP
    """
    path = layout.embeddings(corpus, encoder, items)
    if not path.exists():
        folder = layout.DATA / "embeddings"
        for name, parent in ((corpus, folder), (encoder, folder / corpus)):
            if not (parent / name).is_dir():
                raise UserError(f"{parent} has no embeddings of {name!r}: {_known(name, parent)}")
        raise UserError(f"{path.parent} has no {items!r}: {_known(items, path.parent)}")
    return open_artifact(path)


def _known(name: str, folder: Path) -> str:
    names = [path.stem for path in folder.iterdir() if path.suffix in ("", ".zarr")] if folder.is_dir() else []
    return did_you_mean(name, names) if names else "run `dvc repro`, or `dvc pull` if a colleague has made them."


def table(corpus: str, name: str) -> pl.DataFrame:
    """A table of a corpus that `ingest` has made.

    Args:
        corpus: name in params.yaml.
        name: `media`, `clips`, `spans`, `captions`, `pairs`, `relevancy`, `questions` or `subsets`.

    Raises:
        UserError: there is no such table, or no such corpus yet.
    """
    if name not in TABLES:
        raise UserError(f"No table is called {name!r}: {did_you_mean(name, TABLES)}")
    return read_table(layout.table(corpus, name), TABLES[name])


def _check_known(names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"No results of {name!r}: {did_you_mean(name, known)}")


def results(corpus: str | None = None, experiments: Iterable[str] | None = None) -> pl.DataFrame:
    """The numbers of all scored experiments, one row for each metric.

    Args:
        corpus: only experiments on it; all by default.
        experiments: only these, by name; all by default.

    Returns:
        A table with the columns `corpus`, `experiment`, `subset`, `direction`, `metric`, `value`, `chance` (of a random
        ranking) and `low`, `high` (95 % confidence interval); null where there is no such number. R@k and accuracy in
        percent, mAP and nDCG as fractions.

    Raises:
        UserError: nothing has been scored yet, or a name is unknown.
    """
    scored, _ = read_results(load_params(), lambda *_: None)
    chosen = None if experiments is None else set(experiments)
    _check_known([corpus] if corpus else [], {result.corpus for result in scored})
    _check_known(chosen or (), {result.name for result in scored})
    rows = []
    for result in scored:
        if corpus not in (None, result.corpus) or (chosen is not None and result.name not in chosen):
            continue
        for subset, directions in result.metrics.items():
            for direction, values in directions.items():
                chance = result.chance.get(subset, {}).get(direction, {})
                ends = result.intervals.get(subset, {}).get(direction, {})
                for metric, value in values.items():
                    low, high = ends.get(metric, (None, None))
                    start = (result.corpus, result.name, subset, direction, metric)
                    rows.append((*start, value, chance.get(metric), low, high))
    return pl.DataFrame(rows, schema=RESULTS, orient="row")
