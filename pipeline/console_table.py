"""Tables on the console."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.console.visible import visible

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
