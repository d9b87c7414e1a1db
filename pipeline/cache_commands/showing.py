"""Answers as a table for people or as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.console.visible import visible, visible_json
from pipeline.operations.space import size

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
