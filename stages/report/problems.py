"""`hearonce problems`: what could not be processed, of all stages and corpora."""

from __future__ import annotations

from pathlib import Path

from cache import tables as schemas
from pipeline.config import layout
from pipeline.config.params import Params, load_params
from pipeline.console.tables import print_table
from pipeline.console.text import counted
from pipeline.monitor.problems import EXIT_PROBLEMS

MOST_SHOWN = 1000


def read_problems(folder: Path, params: Params) -> list[dict[str, str]]:
    """Rows of the problems tables of what params.yaml runs, each with its `corpus` and `encoder` (or "")."""
    embedded = {(one.corpus, one.encoder) for one in params.embeddings.values()}
    rows = []
    for path in sorted(folder.glob("*/**/*.parquet")):
        corpus, _, stage = path.relative_to(folder).as_posix().removesuffix(".parquet").partition("/")
        encoder = stage.partition("/")[2]  # `embed/ENCODER`
        if corpus in params.corpora and (not encoder or (corpus, encoder) in embedded):
            found = schemas.read_table(path, schemas.PROBLEMS).iter_rows(named=True)
            rows += [{"corpus": corpus, "encoder": encoder, **row} for row in found]
    return rows


def problems() -> None:
    """List what could not be processed and why; exit code 3 if there is anything."""
    rows = read_problems(layout.PROBLEMS, load_params())
    if not rows:
        print("No problems.")
        return
    columns = ("corpus", "stage", "encoder", "id", "path", "reason")
    cells = [[row[name] for name in columns] for row in rows[:MOST_SHOWN]]
    print_table(counted(len(rows), "problem"), columns, cells, len(columns))
    if len(rows) > MOST_SHOWN:
        print(f"and {len(rows) - MOST_SHOWN} more: the tables in {layout.PROBLEMS} have them all.")
    raise SystemExit(EXIT_PROBLEMS)
