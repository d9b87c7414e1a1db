"""A run of an embedding stage on a cluster, as a command of its own: `python -m cluster_run CLUSTER LOG MEDIA`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from cluster_material import Loader, Reader, made, rows_of, store_in

from pipeline.console.app import run
from pipeline.runner.dask.cluster import Cluster
from pipeline.runner.dask.runner import DaskRunner


def main(cluster: str, log: Path, media: int) -> None:
    with Cluster(cluster) as workers:
        maker = DaskRunner(workers, Reader(log, seconds=0.1), Loader(log), batch_size=4)
        made(maker, rows_of(media), store_in(Path("rows")))


if __name__ == "__main__":
    app = typer.Typer()
    app.command()(main)
    run(app)
    sys.exit(0)
