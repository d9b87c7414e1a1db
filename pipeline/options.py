"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Strict = Annotated[
    bool,
    typer.Option("--strict", envvar="HEARONCE_STRICT", help="Stop at the first problem instead of recording it."),
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="Leave with exit code 0 even if there were problems (for DVC).")
]
Workers = Annotated[
    int | None,
    typer.Option(
        envvar="HEARONCE_WORKERS", min=1, help="Reading threads; by default one per processor, and more if of use."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what is missing, how long it takes and how much it writes; do nothing.")
]
Force = Annotated[
    bool, typer.Option("--force", envvar="HEARONCE_FORCE", help="Begin even if the disk seems too small.")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        envvar="HEARONCE_CLUSTER", help="A cluster of configs/clusters/ that computes; this process by default."
    ),
]
