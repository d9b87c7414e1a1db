"""What language models made of captions, and how far they agree: for the page, and `hearonce agreement`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated

import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.params import corpus_place
from pipeline.config.subsets import read_extended
from pipeline.console.text import did_you_mean

LEVELS = ("low", "moderate", "high")


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two judges side by side.

    Attributes:
        table: (levels, levels) int64, how often the first judge's level (rows) met the second's (columns).
        exact: fraction of the same level; nan if nothing was judged by both.
        kappa: Cohen's kappa, agreement beyond what their frequencies of levels give by chance: 1 is perfect, 0 is
            chance (Cohen 1960, doi:10.1177/001316446002000104); nan where chance alone gives full agreement.
    """

    table: NDArray[np.int64]
    exact: float
    kappa: float

    @property
    def n(self) -> int:
        """Items that both have judged."""
        return int(self.table.sum())


def agreement(first: Mapping[str, str], second: Mapping[str, str], levels: Sequence[str] = LEVELS) -> Agreement:
    """Compares levels by id; ids that only one has judged are left out."""
    place = {level: i for i, level in enumerate(levels)}
    table = np.zeros((len(levels), len(levels)), np.int64)
    for id in first.keys() & second.keys():
        table[place[first[id]], place[second[id]]] += 1
    n = int(table.sum())
    if n == 0:
        return Agreement(table, float("nan"), float("nan"))
    same = int(np.trace(table))
    by_chance = int(table.sum(axis=1) @ table.sum(axis=0))  # times n squared, in whole numbers
    kappa = float("nan") if by_chance == n * n else (same * n - by_chance) / (n * n - by_chance)
    return Agreement(table, same / n, kappa)


ANNOTATED = "annotated"
"""The judge that stands for subsets low, moderate and high of the annotations."""

KINDS = ("question", "caption", "clip")
SHOWN = 20

Judge = Mapping[str, Mapping[str, str]]
"""Kind -> id -> level."""


@dataclass(frozen=True, eq=False)
class CorpusDescriptions:
    """What the page shows of one corpus.

    Attributes:
        corpus: its name.
        rows: the first few captions, each with its description, level and model, of all sources.
        n_rows: how many there are.
        counts: source -> (model, captions described, captions per level).
        agreements: of each two judges, by their names.
    """

    corpus: str
    rows: list[dict[str, str | None]]
    n_rows: int
    counts: dict[str, tuple[str, int, list[int]]]
    agreements: list[tuple[str, str, Agreement]]


def read_descriptions(corpus: str) -> CorpusDescriptions | None:
    """Descriptions of a corpus; None if it has none."""
    path = layout.described(corpus, "descriptions")
    if not path.exists():
        return None
    table = schemas.read_table(path, schemas.DESCRIPTIONS)
    if table.is_empty():
        return None
    counts = {}
    for (source,), part in table.group_by("source", maintain_order=True):
        per_level = [part.filter(pl.col("level") == level).height for level in LEVELS]
        counts[str(source)] = (part["model"][0], int(part["description"].is_not_null().sum()), per_level)
    first = table["caption_id"].unique(maintain_order=True).head(max(1, SHOWN // len(counts)))
    order = {one: i for i, one in enumerate(first)}
    shown = table.filter(pl.col("caption_id").is_in(first.implode())).to_dicts()
    found = judges(corpus)
    return CorpusDescriptions(
        corpus,
        sorted(shown, key=lambda row: order[row["caption_id"]]),
        table.height,
        counts,
        [(a, b, one) for a, b in combinations(found, 2) if (one := compared(found[a], found[b])).n],
    )


def judges(corpus: str) -> dict[str, Judge]:
    """Who has judged the relevancy of sound in a corpus: the annotations' own subsets, and descriptions.

    A judge may know levels of clips, captions or questions; an id that stands in two of its levels has none.
    """
    table = read_extended(corpus, "subsets").with_columns(
        judge=pl.col("subset").str.extract(r"^(.+)-(?:low|moderate|high)$").fill_null(ANNOTATED),
        level=pl.col("subset").str.extract(r"(?:^|-)(low|moderate|high)$"),
    )
    own = pl.col("subset").is_in(LEVELS) | pl.col("judge").str.starts_with("described-")
    levels = table.filter(own & pl.col("level").is_not_null()).unique(["judge", "kind", "id", "level"])
    single = levels.filter(pl.len().over("judge", "kind", "id") == 1).sort("judge", "kind", "id")
    found: dict[str, dict[str, dict[str, str]]] = {}
    for judge, kind, id, level in single.select("judge", "kind", "id", "level").iter_rows():
        found.setdefault(judge, {}).setdefault(kind, {})[id] = level
    return dict(found)


def compared(first: Judge, second: Judge) -> Agreement:
    """Agreement on questions, else captions, else clips, whatever both have judged."""
    for kind in KINDS:
        if first.get(kind, {}).keys() & second.get(kind, {}).keys():
            return agreement(first[kind], second[kind])
    return agreement({}, {})


def agreement_command(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    first: Annotated[str, typer.Argument(help="A caption source `described-NAME`, or `annotated`.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
) -> None:
    """Say how far two models, or a model and the annotations, agree on how relevant sound is."""
    corpus_place(corpus)
    found = judges(corpus)
    for name in (first, second):
        if name not in found:
            raise UserError(f"Nobody called {name!r} has judged {corpus!r}: {did_you_mean(name, found)}")
    one = compared(found[first], found[second])
    if not one.n:
        raise UserError(f"{first} and {second} have judged nothing of {corpus!r} in common.")
    print(f"{one.n} judged by both: {one.exact:.1%} the same level, Cohen's kappa {one.kappa:.3f}")
    width = max(len(level) for level in LEVELS) + 2
    print(f"{first} (rows), {second} (columns)")
    print("".ljust(width) + "".join(level.rjust(width) for level in LEVELS))
    for level, row in zip(LEVELS, one.table, strict=True):
        print(level.ljust(width) + "".join(str(number).rjust(width) for number in row))
