"""The subcommands of `hearonce cache`."""

from __future__ import annotations

from pipeline.console.app import subcommands

COMMANDS = {
    "ls": "pipeline.commands.cache.ls:ls",
    "info": "pipeline.commands.cache.ls:info",
    "verify": "pipeline.commands.cache.verify:verify",
    "repair": "pipeline.commands.cache.verify:repair",
    "gc": "pipeline.commands.cache.gc:gc",
    "forget": "pipeline.commands.cache.gc:forget",
    "compact": "pipeline.commands.cache.gc:compact",
    "merge": "pipeline.commands.cache.exchange:merge",
    "export": "pipeline.commands.cache.exchange:export",
    "import": "pipeline.commands.cache.exchange:import_",
    "convert": "pipeline.commands.cache.exchange:convert",
}

app = subcommands("List, verify, maintain and exchange row stores and embedding caches.", COMMANDS)

RECOMPUTE = ""
"""`module:function` that computes rows anew, a `verify.Recompute`; the command line of the stages names it."""
