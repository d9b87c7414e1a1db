"""Tables on the console, and the same answers as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.console.text import visible, visible_json
from pipeline.monitor.disk_space import size

WIDE = 200
"""Columns where the output is a file or a pipe, which has no width of its own."""


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], n_left: int = 1, emphasis: Sequence[int] = ()
) -> None:
    """Prints rows of text under headings.

    Args:
        title: line above the table.
        columns: headings; they may have several lines.
        rows: cells, one for each column.
        n_left: so many columns from the left hold words; those after them hold numbers and stand right.
        emphasis: places of the rows to print bold.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title=escape(visible(title)), title_justify="left", title_style="bold")
    for place, name in enumerate(columns):
        left = place < n_left
        shown.add_column(
            escape(visible(name, breaks=True)), justify="left" if left else "right", overflow="fold", no_wrap=not left
        )
    for place, row in enumerate(rows):
        shown.add_row(*(escape(visible(cell)) for cell in row), style="bold" if place in emphasis else None)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(shown)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Shared = Annotated[bool, typer.Option("--shared", help="Also where $HEARONCE_STORE is set, which others may use.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def show_json(answer: Any) -> None:
    """Prints one JSON document."""
    print(visible_json(answer, indent=2, sort_keys=True, default=str))


def show_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows with the same columns; numbers stand at the right, columns called `bytes` as kB, MB, ..."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=visible(title), title_justify="left")
    for name in rows[0] if rows else ():
        numbers = all(isinstance(row[name], int) for row in rows)
        table.add_column(name, overflow="fold", justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(escape(size(value) if name == "bytes" else visible(value)) for name, value in row.items()))
    Console().print(table)


def bytes_below(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file())
