"""`hearonce results`: the numbers of all experiments as tables on the console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from cache.errors import UserError
from pipeline.config.experiments import load_experiment
from pipeline.config.params import load_params
from pipeline.console.tables import print_table
from pipeline.console.text import did_you_mean
from stages.report import tables
from stages.report.overview import Cell, Overview, overviews
from stages.report.results import read_results
from stages.report.tables import WHOLE


def results(
    corpus: Annotated[str, typer.Option(help="One corpus alone.")] = "",
    subset: Annotated[str, typer.Option(help="One subset, with all its directions.")] = WHOLE,
) -> None:
    """Show the numbers of all experiments: one row each, the same tables as in the report's overview."""
    params = load_params()
    if corpus and corpus not in params.corpora:
        raise UserError(f"No corpus {corpus!r} in params.yaml: {did_you_mean(corpus, params.corpora)}")
    found, without = read_results(params, lambda *_: None)
    chosen = [result for result in found if not corpus or result.corpus == corpus]
    empty = {name: why for name, why in without.items() if not corpus or load_experiment(name).corpus == corpus}
    if not chosen and not empty:
        raise UserError(f"No experiment on {corpus!r} has results yet: run `dvc repro`.")
    subsets = dict.fromkeys(one for result in chosen for one in result.metrics)
    if subset != WHOLE and subset not in subsets:
        raise UserError(f"No experiment is scored on subset {subset!r}: {did_you_mean(subset, subsets)}")
    shown = list(overviews(chosen, subset))
    for table in shown:
        print_table(
            f"{table.corpus}{'' if subset == WHOLE else f' ({subset})'}: {table.protocol}"
            + (" by subset" if table.of_subsets else "")
            + (f", {table.metric}" if table.metric else ""),
            ["experiment", *(f"{column.group}\n{column.label}" for column in table.columns)],
            list(_rows(table)),
        )
    if any(table.has_seeds for table in shown):
        print("± is the sample standard deviation over seeds (n - 1).")
    for name, reason in empty.items():
        print(f"{name} has no numbers: {reason}")


def _rows(table: Overview) -> Iterator[list[str]]:
    metrics = [column.metric for column in table.columns]
    for row in table.rows:
        name = row.name if len(row.members) == 1 else f"{row.name} ({len(row.members)} seeds)"
        yield [name, *(_written(metric, cell) for metric, cell in zip(metrics, row.cells, strict=True))]
        papers = [tables.number(metric, cell.paper) for metric, cell in zip(metrics, row.cells, strict=True)]
        if set(papers) != {tables.NONE}:
            yield ["  paper", *papers]
    if table.has_chance:
        yield ["chance", *(tables.number(*one) for one in zip(metrics, table.chance, strict=True))]


def _written(metric: str, cell: Cell) -> str:
    deviation = "" if cell.deviation is None else f" ± {tables.number(metric, cell.deviation)}"
    return tables.number(metric, cell.value) + deviation
