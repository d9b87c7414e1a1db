"""`hearonce checkpoints`."""

from __future__ import annotations

import typer

from pipeline.command_line import lazy_group

COMMANDS = {
    "fetch": "pipeline.checkpoints.commands:fetch",
    "list": "pipeline.checkpoints.commands:list_all",
    "verify": "pipeline.checkpoints.commands:verify",
}

app = typer.Typer(
    help="Fetch official checkpoints, text tower files and annotations, and check that they stay the same.",
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _root() -> None:
    pass
