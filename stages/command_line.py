"""The `hearonce` command: its subcommands are the stages and a few tools around them."""

from __future__ import annotations

import os
import sys
from typing import Annotated

if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):  # as in many containers: each start would compile torch anew
    sys.dont_write_bytecode = False  # (before the imports below; $PYTHONPYCACHEPREFIX can say where it goes)

import typer

from pipeline.commands.cache import app as cache_commands
from pipeline.console.app import lazy_group, run

PANELS = {
    "Set up": {
        "init": "stages.ingest.init:init",
        "add": "stages.add.command:add",
        "list-media": "stages.ingest.list_media:list_media",
        "check": "stages.check:check",
        "migrate": "stages.migrate.command:migrate",
        "checkpoints": "pipeline.commands.checkpoints:app",
    },
    "Stages, which `dvc repro` runs": {
        "ingest": "stages.ingest.command:ingest",
        "extract-audio": "stages.extract_audio.command:extract_audio",
        "describe": "stages.describe.command:describe",
        "import-features": "stages.import_features.command:import_features",
        "label": "stages.label.command:label",
        "train": "stages.train.command:train",
        "embed": "stages.embed.command:embed",
        "score": "stages.score.command:score",
        "report": "stages.report.command:report",
    },
    "Results": {
        "results": "stages.report.command:results",
        "compare": "stages.score.compare:compare",
        "agreement": "stages.report.descriptions:agreement_command",
        "problems": "stages.report.command:problems",
        "logs": "pipeline.commands.logs:logs",
    },
    "Search and embeddings": {
        "search": "hearonce.searching:search_command",
        "serve": "hearonce.server.command:serve",
        "map": "stages.search.map:map_command",
        "index": "stages.search.index:index_command",
        "export": "hearonce.exporting:export_command",
        "encode": "stages.embed.encode_files:encode",
        "cache": "pipeline.commands.cache.app:app",
    },
}
"""Commands as `hearonce --help` lists them."""

RENAMED = {
    "adopt": "add",
    "embed-clips": "embed",
    "embed-captions": "embed",
    "embed-avlnet": "embed",
    "detect-speech": "label CORPUS speech",
    "measure-levels": "label CORPUS levels",
    "score-subset": "score",
}
"""Commands of the last version; they answer with the new name."""

cache_commands.RECOMPUTE = "stages.embed.recompute:recompute"

app = typer.Typer(
    name="hearonce",
    help="Retrieval between audio, video and language: decode once, embed once, score everything.",
    cls=lazy_group(PANELS, RENAMED),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"hearonce {version('hearonce')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    run(app)
