"""Results of commands on the console: one printer of tables, and the same answers as JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.console.text import visible, visible_json
from pipeline.monitor.disk_space import size

PIPE_COLUMNS = 200
"""Width of tables where the output is a file or a pipe, which has no width of its own."""


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    n_left: int = 1,
    emphasis: Collection[int] = (),
) -> None:
    """Prints rows of text under headings.

    Args:
        title: line above the table.
        columns: headings; they may have several lines.
        rows: cells, one for each column.
        n_left: so many columns from the left hold words; those after them hold numbers and are aligned right.
        emphasis: positions of the rows to print bold.
    """
    _print(title, [(name, position < n_left) for position, name in enumerate(columns)], rows, emphasis)


def print_records(title: str, records: Sequence[Mapping[str, Any]], as_json: bool = False) -> None:
    """Prints records with the same fields, as a table or as JSON.

    Args:
        title: line above the table.
        records: a row each. Columns of whole numbers are aligned right; `bytes` are printed as kB, MB, ...
        as_json: print a JSON list instead, in which names have underscores for spaces.
    """
    if as_json:
        print_json([{name.replace(" ", "_"): value for name, value in record.items()} for record in records])
        return
    names = list(records[0]) if records else []
    columns = [(name, not all(isinstance(record[name], int) for record in records)) for name in names]
    cells = [[size(value) if name == "bytes" else str(value) for name, value in record.items()] for record in records]
    _print(title, columns, cells)


def print_json(document: Any) -> None:
    """Prints one JSON document."""
    print(visible_json(document, indent=2, sort_keys=True, default=str))


def _print(
    title: str, columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], emphasis: Collection[int] = ()
) -> None:
    """Prints a table; a column is its heading and whether it holds words."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(visible(title)), title_justify="left", title_style="bold")
    for heading, words in columns:
        table.add_column(
            escape(visible(heading, breaks=True)),
            justify="left" if words else "right",
            overflow="fold",
            no_wrap=not words,
        )
    for position, row in enumerate(rows):
        table.add_row(*(escape(visible(cell)) for cell in row), style="bold" if position in emphasis else None)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_COLUMNS)
    console.print(table)
