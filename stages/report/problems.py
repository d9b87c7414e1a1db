"""`hearonce problems`: what could not be processed, of all stages and corpora."""

from __future__ import annotations

from pathlib import Path

from cache import tables as schemas
from pipeline import layout
from pipeline.command_line import EXIT_PROBLEMS


def read_problems(folder: Path) -> list[dict[str, str]]:
    """Rows of all problems tables below a folder, each with its `corpus`."""
    return [
        {"corpus": path.parent.name, **row}
        for path in sorted(folder.glob("*/*.parquet"))
        for row in schemas.read_table(path, schemas.PROBLEMS).iter_rows(named=True)
    ]


def problems() -> None:
    """List what could not be processed and why; exit code 3 if there is anything."""
    rows = read_problems(layout.PROBLEMS)
    if not rows:
        print("No problems.")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title=f"{len(rows)} problems", title_justify="left")
    for name in ("corpus", "stage", "id", "path", "reason"):
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*(escape(row[name]) for name in ("corpus", "stage", "id", "path", "reason")))
    Console().print(shown)
    raise SystemExit(EXIT_PROBLEMS)
