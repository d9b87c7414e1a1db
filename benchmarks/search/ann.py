"""Approximate search beside exact search, and what faiss and usearch offer, on vectors resampled from real embeddings.

`python -m benchmarks.search.ann --embeddings data/embeddings/demo/yamnet-minilm --rows 1000000` makes rows by a stated
recipe: the mean of three cached clip or caption embeddings with random weights (Dirichlet, 1), plus noise of 0.35 times
its length whose covariance is that of the embeddings; all of unit length. Queries are further such rows. Single
queries, one thread for building, `--threads` for search.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache.measure import keys
from cache.artifact import open_artifact, write_blocks
from cache.formats.group import rows_per_block
from cache.rows import RowFormat, Rows
from stages.search.gallery import Gallery, unit
from stages.search.index import DEPTH, Index, build

K = 10


def main() -> None:
    """Prints a table."""
    options = _options()
    draw = Resampled(options.embeddings)
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        path = Path(folder) / "clips.zarr"
        row_format = RowFormat(draw.dim, options.dtype)
        step = rows_per_block(row_format, options.rows, options.rows)
        packed = keys(options.rows)
        write_blocks(
            path,
            row_format,
            [f"clip-{number:07}" for number in range(options.rows)],
            options.rows,
            (
                Rows.of(row_format, packed[start : start + step], draw(min(step, options.rows - start)))
                for start in range(0, options.rows, step)
            ),
            {"fingerprint": "made-up"},
        )
        gallery = Gallery(open_artifact(path))
        queries = draw(options.queries)
        print(f"{options.rows:,} rows of {draw.dim} in {options.dtype}, {options.queries} single queries, k = {K}\n")
        print(
            "| search | build, s | file, MB | ms a query | faster than exact | recall@10 |\n|---|---|---|---|---|---|"
        )
        gallery.top(queries[:1], K)
        true, exact = _each(lambda query: gallery.top(query, K)[1][0], queries)
        print(f"| exact, mapped rows | – | – | {1000 * exact:.1f} | 1.0 | 1.000 |", flush=True)

        started = time.perf_counter()
        note = build(gallery, Path(folder) / "index")
        built = time.perf_counter() - started
        size = (Path(folder) / "index/index.faiss").stat().st_size
        index = Index(gallery, Path(folder) / "index")
        found, seconds = _each(lambda query: index.top(query, K)[1][0], queries)
        name = f"`hearonce index` (IVF{note['centroids']}, SQ8, {note['visited']} visited)"
        _row(name, built, size, seconds, exact, found, true)
        deep, exact_deep = _each(lambda query: gallery.top(query, DEPTH)[1][0], queries)
        found, seconds = _each(lambda query: index.top(query, DEPTH)[1][0], queries)
        _row(f"the same, the {DEPTH} nearest", built, size, seconds, exact_deep, found, deep)
        if options.peers:
            _peers(gallery, queries, true, exact, Path(folder))


class Resampled:
    """Rows like those of an encoder."""

    def __init__(self, folder: Path) -> None:
        artifacts = [open_artifact(folder / f"{items}.zarr") for items in ("clips", "captions")]
        self._real = unit(np.concatenate([np.asarray(one.numpy(), np.float32) for one in artifacts]))
        self.dim = self._real.shape[1]
        centred = self._real - self._real.mean(axis=0)
        _, scales, axes = np.linalg.svd(centred, full_matrices=False)
        self._axes = (scales[:, None] * axes / np.linalg.norm(scales)).astype(np.float32)
        self._draw = np.random.default_rng(3)

    def __call__(self, count: int) -> np.ndarray:
        """So many rows, float32 (count, dim)."""
        weights = self._draw.dirichlet(np.ones(3), count).astype(np.float32)
        picked = self._real[self._draw.integers(0, len(self._real), (count, 3))]
        mixed = unit(np.einsum("nk,nkd->nd", weights, picked))
        noise = self._draw.standard_normal((count, len(self._axes))).astype(np.float32) @ self._axes
        return unit(mixed + 0.35 * noise)


def _each(search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> tuple[list[set[int]], float]:
    search(queries[:1])
    started = time.perf_counter()
    found = [set(map(int, search(query[None]))) for query in queries]
    return found, (time.perf_counter() - started) / len(queries)


def _row(
    name: str, built: float, size: float, seconds: float, exact: float, found: list[set[int]], true: list[set[int]]
) -> None:
    recall = float(np.mean([len(one & other) / len(other) for one, other in zip(found, true, strict=True)]))
    ratio = exact / seconds
    print(
        f"| {name} | {built:.1f} | {size / 1e6:.0f} | {1000 * seconds:.2f} | {ratio:.1f} | {recall:.3f} |", flush=True
    )


def _peers(gallery: Gallery, queries: np.ndarray, true: list[set[int]], exact: float, folder: Path) -> None:
    import faiss
    from usearch.index import Index as Usearch

    rows = unit(gallery.artifact.read_float32(0, len(gallery)))
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    found, seconds = _each(lambda query: flat.search(query, K)[1][0], queries)
    _row("faiss IndexFlatIP", 0, rows.nbytes, seconds, exact, found, true)
    faiss.omp_set_num_threads(1)
    makers: dict[str, Callable[[], Any]] = {
        "faiss HNSW32, SQ8": lambda: faiss.IndexHNSWSQ(rows.shape[1], faiss.ScalarQuantizer.QT_8bit, 32),
    }
    for name, make in makers.items():
        started = time.perf_counter()
        index = make()
        index.train(rows[:100_000])
        index.add(rows)
        built = time.perf_counter() - started
        index.hnsw.efSearch = 64
        found, seconds = _each(lambda query, index=index: index.search(query, K)[1][0], queries)  # type: ignore[misc]
        _row(name, built, len(faiss.serialize_index(index)), seconds, exact, found, true)
    started = time.perf_counter()
    usearch = Usearch(ndim=rows.shape[1], metric="ip", dtype="i8")
    usearch.add(np.arange(len(rows)), rows, threads=1)
    built = time.perf_counter() - started
    usearch.save(str(folder / "usearch"))
    found, seconds = _each(lambda query: usearch.search(query[0], K, threads=1).keys, queries)
    _row("usearch HNSW, i8", built, os.path.getsize(folder / "usearch"), seconds, exact, found, true)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embeddings", type=Path, default=Path("data/embeddings/demo/yamnet-minilm"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--peers", action="store_true", help="build the indexes of other libraries, too")
    parser.add_argument("--scratch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
