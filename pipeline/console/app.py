"""The machinery of the `hearonce` command: subcommands loaded when called, errors as one sentence, exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cache.errors import OutOfFiles, UserError, is_out_of_files
from pipeline.console.text import did_you_mean, visible, visible_streams
from pipeline.monitor import signals
from pipeline.monitor.problems import EXIT_PROBLEMS, EXIT_USER_ERROR, exit_code_of


def lazy_group(panels: Mapping[str, Mapping[str, str]], renamed: Mapping[str, str] | None = None) -> type[TyperGroup]:
    """A group whose subcommands are imported when they are needed.

    Args:
        panels: heading in the help -> the commands below it, name -> `module:function`, or `module:app` of a typer app
            with subcommands of its own.
        renamed: names of the last version -> what is said of each, the new name.
    """

    commands = {name: target for panel in panels.values() for name, target in panel.items()}
    panel_of = {name: heading for heading, panel in panels.items() for name in panel}

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name not in commands:
                return None
            module, name = commands[cmd_name].split(":")
            found = getattr(importlib.import_module(module), name)
            app = found if isinstance(found, typer.Typer) else _single(found)
            command = typer.main.get_command(app)
            command.name = cmd_name
            command.rich_help_panel = panel_of[cmd_name]  # type: ignore[attr-defined]
            return command

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args and args[0] in (renamed or {}):
                raise UserError(f"`{args[0]}` is renamed to `{ctx.command_path} {(renamed or {})[args[0]]}`.")
            if args and not args[0].startswith("-") and args[0] not in commands:
                raise UserError(
                    f"No command {args[0]!r}: {did_you_mean(args[0], commands)} (`{ctx.command_path} --help`)"
                )
            return super().resolve_command(ctx, args)

    return LazyGroup


def subcommands(help: str, commands: Mapping[str, str]) -> typer.Typer:
    """The app of a command that has subcommands of its own.

    Args:
        help: what they are for.
        commands: name -> target, as for `lazy_group`.
    """
    app = typer.Typer(
        help=help,
        cls=lazy_group({"Commands": commands}),
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        add_completion=False,
    )

    @app.callback()
    def _root() -> None:
        pass

    return app


def _single(function: Callable[..., Any]) -> typer.Typer:
    app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=False)
    app.command()(function)
    return app


def run(app: typer.Typer) -> None:
    """Runs the command line and turns what went wrong into one sentence and an exit code.

    Exit codes: 0 done, 2 a mistake of the user's, 3 done with problems (see the problems table), 4 stopped by the
    first problem of a strict run, 130 interrupted, 143 ended by a scheduler.
    """
    with visible_streams(), _enough_files(), signals.handled():
        try:
            app()
        except UserError as error:
            _print_error(error)
            sys.exit(exit_code_of(error))
        except (KeyboardInterrupt, SystemExit) as stop:
            if isinstance(stop, SystemExit) and stop.code != signals.EXIT_INTERRUPTED:
                raise
            _print_error("interrupted; everything that was committed is kept, the next run goes on from there.")
            sys.exit(signals.exit_code())
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _enough_files() -> Iterator[None]:
    """Says in one sentence that the process may open no more files, wherever that happens."""
    try:
        yield
    except OSError as error:
        if not is_out_of_files(error):
            raise
        _print_error(OutOfFiles())
        sys.exit(EXIT_USER_ERROR)


def finish(line: str, n_problems: int, keep_going: bool) -> None:
    """Prints a stage's summary line; leaves with exit code 3 if there were problems, unless `keep_going`.

    Under DVC a stage that leaves with an error has no outputs, therefore `dvc.yaml` keeps going and
    `hearonce problems` gives the exit code afterwards.
    """
    print(line, flush=True)
    if n_problems and not keep_going:
        raise SystemExit(EXIT_PROBLEMS)


def _print_error(message: object) -> None:
    print(f"hearonce: {visible(message)}", file=sys.stderr, flush=True)


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
    bool,
    typer.Option(
        "--dry-run", help="Only say what would be done; of a stage also how long it takes and how much it writes."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Shared = Annotated[bool, typer.Option("--shared", help="Also where $HEARONCE_STORE is set, which others may use.")]
Force = Annotated[
    bool, typer.Option("--force", envvar="HEARONCE_FORCE", help="Begin even if the disk seems too small.")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        envvar="HEARONCE_CLUSTER", help="A cluster of configs/clusters/ that computes; this process by default."
    ),
]
