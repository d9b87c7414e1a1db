"""The subcommands of `hearonce cache`."""

from __future__ import annotations

from pipeline.command_line import subcommands

COMMANDS = {
    "ls": "pipeline.cache_commands.looking:ls",
    "info": "pipeline.cache_commands.looking:info",
    "verify": "pipeline.cache_commands.health:verify",
    "repair": "pipeline.cache_commands.health:repair",
    "gc": "pipeline.cache_commands.tidying:gc",
    "forget": "pipeline.cache_commands.media_rows:forget",
    "compact": "pipeline.cache_commands.tidying:compact",
    "merge": "pipeline.cache_commands.sharing:merge",
    "export": "pipeline.cache_commands.sharing:export",
    "import": "pipeline.cache_commands.sharing:import_file",
    "convert": "pipeline.cache_commands.sharing:convert",
}

app = subcommands("Look into row stores and embedding caches, keep them tidy, share them.", COMMANDS)
