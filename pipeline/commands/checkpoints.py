"""`hearonce checkpoints fetch`, `list` and `verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cache.errors import UserError
from pipeline.checkpoints import unpack as unpacking
from pipeline.checkpoints.catalogue import Entry, find, load_catalogue
from pipeline.checkpoints.fetch import Fetching
from pipeline.checkpoints.official import LOCK, Record, measured, recorded, same
from pipeline.checkpoints.unpack import check_expected
from pipeline.console.app import AsJson, subcommands
from pipeline.console.tables import print_json, print_records
from pipeline.console.text import visible
from pipeline.monitor.disk_space import size
from pipeline.monitor.problems import EXIT_PROBLEMS, EXIT_USER_ERROR

Names = Annotated[list[str], typer.Argument(help="Names of `hearonce checkpoints list`.", show_default=False)]


def fetch(
    names: Names,
    given: Annotated[
        Path | None, typer.Option("--from", help="Copy a file you have, or files out of a folder, instead of fetching.")
    ] = None,
    accept_changed: Annotated[
        bool, typer.Option("--accept-changed", help="Take a file that is not the recorded one, and record it.")
    ] = False,
    weights: Annotated[bool, typer.Option("--weights", help="Also the weights of text towers.")] = False,
    unpack: Annotated[bool, typer.Option("--unpack", help="Unpack archives beside themselves.")] = False,
) -> None:
    """Get official files from where they are published; an interrupted download goes on where it stopped."""
    catalogue = load_catalogue()
    found = list(dict.fromkeys(find(name, catalogue) for name in names))
    if given is not None and given.is_file() and len(found) > 1:
        raise UserError(f"--from {given} is one file, but {len(found)} names were given: name a folder.")
    failures: list[UserError] = []
    for name in found:
        try:
            _fetch(Fetching(name, catalogue[name], weights, given, accept_changed), unpack)
        except UserError as error:
            if len(found) == 1:
                raise
            failures.append(error)
            print(f"hearonce: {visible(error)}", file=sys.stderr, flush=True)
    if failures:
        print(f"{len(failures)} of {len(found)} could not be fetched.", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR)


def list_all(as_json: AsJson = False) -> None:
    """List what can be fetched: what is here, who uses it and what its licence says."""
    catalogue, known = load_catalogue(), recorded()
    rows = [_row(name, entry, known) for name, entry in catalogue.items()]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            row["used_by"] = ", ".join(row["used_by"])
            del row["places"], row["path"]
        print_records(f"{len(rows)} in the catalogue", rows)


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of `hearonce checkpoints list`; all that is here by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every fetched file and compare it with `checkpoints.lock.yaml`; exit code 3 if one is another or cut."""
    known, rows = recorded(), []
    wanted = set()
    if names:
        catalogue = load_catalogue()
        wanted = {find(name, catalogue) for name in names}
        if unknown := sorted(wanted - {record.name for record in known.values()}):
            raise UserError(f"{LOCK} does not list {', '.join(unknown)}: run `hearonce checkpoints fetch` first.")
    for path, before in known.items():
        if wanted and before.name not in wanted:
            continue
        rows.append({"path": path, "name": before.name, "state": _state(Path(path), before)})
    bad = [row for row in rows if row["state"] == "changed" or (wanted and row["state"] == "not here")]
    if as_json:
        print_json(rows)
    elif bad:
        print_records(f"{len(bad)} not as {LOCK} says", bad)
        print("Delete a changed file and run `hearonce checkpoints fetch NAME`.")
    else:
        absent = sum(row["state"] == "not here" for row in rows)
        print(f"{len(rows) - absent} checked, all as recorded; {absent} recorded but not here.")
    if bad:
        raise SystemExit(EXIT_PROBLEMS)


def _fetch(fetching: Fetching, unpack: bool) -> None:
    for fetched in fetching.run():
        print(
            f"{fetched.path}: {fetched.news} ({size(fetched.record.size)}, sha256 {fetched.record.sha256[:12]}…)",
            flush=True,
        )
        if unpack and unpacking.is_archive(fetched.path):
            folder = unpacking.unpack(fetched.path, fetching.entry.limits, fetching.entry.holds)
            check_expected(folder, fetching.entry.holds, fetched.path, fetching.name)
            print(f"{folder}: unpacked from {fetched.path.name}", flush=True)


def _row(name: str, entry: Entry, known: dict[str, Record]) -> dict[str, Any]:
    records = {Path(path): record for path, record in known.items() if record.name == name}
    here = [path for path in records if path.is_file()]
    state = "here" if here and len(here) == len(records) else "partly here" if here else "not here"
    if not here and entry.path.exists():
        state = "there, not recorded"
    return {
        "name": name,
        "path": entry.path.as_posix(),
        "state": state,
        "used_by": entry.used_by,
        "licence": entry.licence,
        "places": [place.address(entry.file, False) for place in entry.places],
    }


def _state(path: Path, before: Record) -> str:
    if not path.is_file():
        return "not here"
    if path.stat().st_size != before.size:
        return "changed"
    return "as recorded" if same(measured(path, before.name, ""), before) else "changed"


COMMANDS = {
    "fetch": "pipeline.commands.checkpoints:fetch",
    "list": "pipeline.commands.checkpoints:list_all",
    "verify": "pipeline.commands.checkpoints:verify",
}

app = subcommands(
    "Fetch official checkpoints, text tower files and annotations, and check that they stay the same.", COMMANDS
)
