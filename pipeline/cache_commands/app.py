"""The subcommands of `hearonce cache`."""

from __future__ import annotations

import typer

from pipeline.command_line import lazy_group

COMMANDS = {
    "ls": "pipeline.cache_commands.looking:ls",
    "info": "pipeline.cache_commands.looking:info",
    "verify": "pipeline.cache_commands.health:verify",
    "repair": "pipeline.cache_commands.health:repair",
    "gc": "pipeline.cache_commands.tidying:gc",
    "compact": "pipeline.cache_commands.tidying:compact",
    "merge": "pipeline.cache_commands.sharing:merge",
    "export": "pipeline.cache_commands.sharing:export",
    "import": "pipeline.cache_commands.sharing:import_file",
    "convert": "pipeline.cache_commands.sharing:convert",
}

app = typer.Typer(
    help="Look into row stores and embedding caches, keep them tidy, share them.",
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _root() -> None:
    pass
