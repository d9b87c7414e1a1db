"""`hearonce report`, `results` and `problems`: what all experiments scored, and what could not be processed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from cache import tables as schemas
from cache.durable import new_file
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.params import Params, load_params
from pipeline.console.tables import print_table
from pipeline.console.text import counted, did_you_mean
from pipeline.monitor.log import logged
from pipeline.monitor.problems import EXIT_PROBLEMS
from pipeline.monitor.summary import Summary
from stages.report import tables
from stages.report.audio import Sounds
from stages.report.descriptions import read_descriptions
from stages.report.overview import Cell, Overview, overviews
from stages.report.page import render
from stages.report.results import read_results
from stages.report.tables import WHOLE

PAGE = "index.html"


@logged
def report() -> None:
    """Show the results of all experiments of params.yaml on one page."""
    params = load_params()
    summary = Summary("report", unit="experiments")
    sounds = Sounds()
    with summary.timed("read"):
        results, empty = read_results(params, sounds.snippet)
        problems = [
            {**row, "path": f"{row['corpus']}: {row['path']}" if row["path"] else row["corpus"]}
            for row in read_problems(layout.PROBLEMS, params)
        ]
        problems += [{"stage": "score", "id": name, "path": "", "reason": reason} for name, reason in empty.items()]
    with summary.timed("write"):
        corpora = ", ".join(dict.fromkeys(result.corpus for result in results))
        page = render(
            results,
            problems,
            f"hearonce: {corpora}",
            {"hearonce": version("hearonce"), "corpora": corpora},
            sounds.n_left_out,
            [one for corpus in params.corpora if (one := read_descriptions(corpus))],
        )
        with new_file(layout.REPORT / PAGE) as temporary:
            temporary.write_text(page, encoding="utf-8")
    summary.computed, summary.wanted = len(results), len(results) + len(empty)
    summary.note = str(layout.REPORT / PAGE)
    print(summary.line(), flush=True)


MOST_SHOWN = 1000


def read_problems(folder: Path, params: Params) -> list[dict[str, str]]:
    """Rows of the problems tables of what params.yaml runs, each with its `corpus` and `encoder` (or "")."""
    embedded = {(one.corpus, one.encoder) for one in params.embeddings.values()}
    rows = []
    for path in sorted(folder.glob("*/**/*.parquet")):
        corpus, _, stage = path.relative_to(folder).as_posix().removesuffix(".parquet").partition("/")
        encoder = stage.partition("/")[2]  # `embed/ENCODER`
        if corpus in params.corpora and (not encoder or (corpus, encoder) in embedded):
            found = schemas.read_table(path, schemas.PROBLEMS).iter_rows(named=True)
            rows += [{"corpus": corpus, "encoder": encoder, **row} for row in found]
    return rows


def problems() -> None:
    """List what could not be processed and why; exit code 3 if there is anything."""
    rows = read_problems(layout.PROBLEMS, load_params())
    if not rows:
        print("No problems.")
        return
    columns = ("corpus", "stage", "encoder", "id", "path", "reason")
    cells = [[row[name] for name in columns] for row in rows[:MOST_SHOWN]]
    print_table(counted(len(rows), "problem"), columns, cells, len(columns))
    if len(rows) > MOST_SHOWN:
        print(f"and {len(rows) - MOST_SHOWN} more: the tables in {layout.PROBLEMS} have them all.")
    raise SystemExit(EXIT_PROBLEMS)


def results(
    corpus: Annotated[str, typer.Option(help="One corpus alone.")] = "",
    subset: Annotated[str, typer.Option(help="One subset, with all its directions.")] = WHOLE,
) -> None:
    """Show the numbers of all experiments: one row each, the same tables as in the report's overview."""
    params = load_params()
    if corpus and corpus not in params.corpora:
        raise UserError(f"No corpus {corpus!r} in params.yaml: {did_you_mean(corpus, params.corpora)}")
    chosen, empty = read_results(params, lambda *_: None, corpus)
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
