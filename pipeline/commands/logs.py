"""`hearonce logs`: what the last runs did, by their logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cache.errors import UserError
from cache.location import Store
from pipeline.console.tables import print_table

COLUMNS = ("begun", "stage", "of", "process", "exit code", "seconds", "computed", "problems")


def logs(
    stage: Annotated[str | None, typer.Argument(help="A stage, such as `embed`; all by default.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Runs to list.")] = 20,
    show: Annotated[str | None, typer.Option(help="Print the logs of this process id or time.")] = None,
) -> None:
    """List the last runs of stages on this machine, or print what one of them wrote down."""
    root = Store.default().logs
    files = sorted(root.glob("*/*/*.jsonl"), key=lambda path: path.name)
    if stage:
        files = [path for path in files if path.parts[-3] == stage.replace("-", "_")]
    if show:
        files = [path for path in files if show in path.name]
    if not files:
        what = " of that stage or name" if stage or show else ""
        raise UserError(f"{root} has no log{what}: `hearonce logs` lists those of the last runs.")
    if show:
        for path in files:
            print(path.read_text(encoding="utf-8"), end="")
    else:
        print_table(f"the last of {len(files)} runs", COLUMNS, [_line(path) for path in files[-last:]], n_left=4)


def _line(path: Path) -> list[str]:
    lines = [_read(line) for line in path.read_text(encoding="utf-8").splitlines()]
    end: dict[str, Any] = next((line for line in reversed(lines) if line.get("event") == "end"), {})
    return [
        lines[0].get("at", "?") if lines else "?",
        *path.parts[-3:-1],
        path.stem.rpartition("Z-")[2],
        str(end.get("exit_code", "no end")),
        str(end.get("seconds", "?")),
        str(sum(summary.get("computed", 0) for summary in end.get("summaries", []))),
        str(sum(line.get("event") == "problem" for line in lines)),
    ]


def _read(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError:  # what a killed run has left at its end
        return {}
