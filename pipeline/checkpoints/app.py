"""`hearonce checkpoints`."""

from __future__ import annotations

from pipeline.command_line import subcommands

COMMANDS = {
    "fetch": "pipeline.checkpoints.commands:fetch",
    "list": "pipeline.checkpoints.commands:list_all",
    "verify": "pipeline.checkpoints.commands:verify",
}

app = subcommands(
    "Fetch official checkpoints, text tower files and annotations, and check that they stay the same.", COMMANDS
)
