"""How many rows a second one process takes in from the workers of a local cluster, and commits.

    python -m benchmarks.scale.committer --rows 100000 --workers 2

The tower computes nothing: what is measured is sending, taking in, and making durable. Rows are vectors of 512
float32, or spectrograms of 1000 x 40 float32. Beside it stands the same run without a cluster, and committing alone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache.measure import show
from cache.keys import caption_key
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.dask.cluster import Cluster
from pipeline.runner.dask.runner import DaskRunner
from pipeline.runner.local import LocalRunner
from pipeline.runner.rows import Row, WantedRows
from pipeline.runner.run import compute_missing

CLIPS_OF_A_MEDIUM = 64
FORMATS = {
    "512 float32": (RowFormat(512), (512,), 1),
    "1000 x 40 float32": (RowFormat(40, ragged=True), (1000, 40), 50),
}
"""What a row is, and how many times fewer of them are made."""


@dataclass(frozen=True)
class Nothing:
    """A reader, a loader and a tower that compute nothing."""

    shape: tuple[int, ...]

    def part(self, rows: Sequence[Row]) -> Nothing:
        """The same."""
        return self

    def read(self, group: Sequence[Row]) -> Iterator[tuple[Row, Any]]:
        """See `pipeline.runner.run.Reader`."""
        return ((row, 0) for row in group)

    def __call__(self) -> tuple[Nothing, Mapping[str, Any]]:
        """Loads nothing."""
        return self, {"device": "none"}

    def prepare(self, item: Any, key: bytes) -> Any:
        """See `Encoding`."""
        return item

    def encode(self, batch: Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """See `Encoding`."""
        rows = np.ones((len(batch), *self.shape), np.float32)
        return rows if len(self.shape) == 1 else list(rows)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    table = []
    for name, (format, shape, fewer) in FORMATS.items():
        n = max(1, options.rows // fewer)
        rows = WantedRows.of(Row(f"{i}", caption_key(f"{i}"), f"{i // CLIPS_OF_A_MEDIUM}", "") for i in range(n))
        for where in ("cluster", "this process", "committing alone"):
            seconds = _run(where, format, shape, rows, options)
            nbytes = n * int(np.prod(shape)) * 4
            table.append([name, where, f"{n:,}", f"{n / seconds:,.0f}", f"{nbytes / seconds / 1e6:,.0f}"])
    show("Rows taken in and committed by one process", ["row", "made by", "rows", "rows/s", "MB/s"], table)


def _run(where: str, format: RowFormat, shape: tuple[int, ...], rows: WantedRows, options: argparse.Namespace) -> float:
    made = Nothing(shape)
    with tempfile.TemporaryDirectory(prefix="hearonce-benchmark-") as folder:
        (Path(folder) / "configs/clusters").mkdir(parents=True)
        (Path(folder) / "configs/clusters/two.yaml").write_text(
            json.dumps({"kind": "local", "workers": options.workers})
        )
        before = os.getcwd()
        os.chdir(folder)
        try:
            store = RowStore.ensure(Path("rows"), "clips", "ab" * 16, format)
            if where == "committing alone":
                return _committed(store, made, rows, options.batch_size)
            if where == "this process":
                maker = LocalRunner(made.read, made, batch_size=options.batch_size, workers=1)
                return _timed(maker, rows, store)
            with Cluster("two") as cluster:
                maker = DaskRunner(cluster, made, made, batch_size=options.batch_size)
                _timed(maker, rows[: 4 * CLIPS_OF_A_MEDIUM], RowStore.ensure(Path("warm"), "clips", "ab" * 16, format))
                return _timed(maker, rows, store)
        finally:
            os.chdir(before)


def _timed(maker: Any, rows: WantedRows, store: RowStore) -> float:
    started = time.perf_counter()
    compute_missing(rows, store, maker, problems=Problems("benchmark"), summary=Summary("benchmark"))
    return time.perf_counter() - started


def _committed(store: RowStore, made: Nothing, rows: WantedRows, batch_size: int) -> float:
    started = time.perf_counter()
    writer = store.writer({"device": "none"})
    keys = [row.key for row in rows]
    for start in range(0, len(keys), batch_size):
        some = keys[start : start + batch_size]
        writer.add(some, made.encode(some))
    writer.commit()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
