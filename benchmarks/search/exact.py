"""Exact search over an embedding cache beside numpy, faiss's flat index and the machine's matrix product.

`python -m benchmarks.search.exact` writes 1,000,000 × 512 random float16 rows and measures in fresh processes: the
first search, which also verifies checksums, later ones, and a batch of 1,000 queries. Beside them, in the same minute
and with as many threads: numpy that casts blocks of the same mapped file to float32 and multiplies them, faiss's
`IndexFlatIP` with float32 rows in memory, and the float32 product of the batch alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.cache.measure import keys
from cache.artifact import open_artifact, write_blocks
from cache.formats.group import rows_per_block
from cache.rows import RowFormat, Rows

K, BLOCK_ROWS = 10, 4096


def main() -> None:
    """Prints a table."""
    options = _options()
    if options.folder:
        print(json.dumps(_measured(Path(options.folder), options)))
        return
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        _write(Path(folder), options)
        rounds = [_child(folder, options) for _ in range(options.rounds)]
    print(f"{options.rows:,} × {options.dim} float16, {options.threads} threads, medians of {options.rounds} rounds\n")
    print("| | seconds | ratio |\n|---|---|---|")
    middle = {name: float(np.median([one[name] for one in rounds])) for name in rounds[0]}
    numpy, later, product = middle["numpy"], middle["later"], middle["product"]
    for name, seconds, ratio in (
        ("numpy: cast and multiply blocks of the mapped file", numpy, "1.0"),
        ("first search (checksums verified)", middle["first"], f"{middle['first'] / numpy:.2f} × numpy"),
        ("later search", later, f"{later / numpy:.2f} × numpy"),
        ("faiss IndexFlatIP, float32 in memory", middle["faiss"], f"ours {middle['faiss'] / later:.2f} × as fast"),
        (f"{options.batch:,} queries", middle["batch"], f"{product / middle['batch']:.2f} of the product alone"),
        (
            "faiss, the same queries",
            middle["faiss batch"],
            f"ours {middle['faiss batch'] / middle['batch']:.2f} × as fast",
        ),
        ("product alone", product, ""),
    ):
        print(f"| {name} | {seconds:.3f} | {ratio} |")
    print(f"\nPrivate memory grown by: search {middle['grown']:.0f} MiB, batch {middle['grown by batch']:.0f} MiB")


def _measured(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    from stages.search.gallery import Gallery

    draw = np.random.default_rng(1)
    query = draw.standard_normal((1, options.dim)).astype(np.float32)
    batch = draw.standard_normal((options.batch, options.dim)).astype(np.float32)
    values = np.memmap(folder / "rows.f16", np.float16, "r", shape=(options.rows, options.dim))
    found: dict[str, float] = {}
    _numpy(values, query, options.threads)  # the file is in memory, threads have started
    found["numpy"] = _seconds(lambda: _numpy(values, query, options.threads), 3)
    before = _private()
    started = time.perf_counter()
    gallery = Gallery(open_artifact(folder / "clips.zarr"), options.threads)
    gallery.top(query, K)
    found["first"] = time.perf_counter() - started
    found["later"] = _seconds(lambda: gallery.top(query, K), 5)
    found["grown"] = _private() - before
    found["batch"] = _seconds(lambda: gallery.top(batch, K), 1)
    found["grown by batch"] = _private() - before
    block = np.asarray(values[: 1 << 15], np.float32)
    np.matmul(batch, block.T)
    found["product"] = _seconds(lambda: np.matmul(batch, block.T), 3) * options.rows / len(block)
    import faiss

    faiss.omp_set_num_threads(options.threads)
    flat = faiss.IndexFlatIP(options.dim)
    for start in range(0, options.rows, 1 << 15):
        flat.add(np.asarray(values[start : start + (1 << 15)], np.float32))
    flat.search(query, K)
    found["faiss"] = _seconds(lambda: flat.search(query, K), 5)
    found["faiss batch"] = _seconds(lambda: flat.search(batch, K), 1)
    return found


def _numpy(values: np.ndarray, query: np.ndarray, threads: int) -> np.ndarray:
    result = np.empty(len(values), np.float32)

    def work(start: int) -> None:
        stop = min(len(values), start + BLOCK_ROWS)
        result[start:stop] = values[start:stop].astype(np.float32) @ query[0]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(0, len(values), BLOCK_ROWS)))
    return result


def _seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _private() -> float:
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024


def _write(folder: Path, options: argparse.Namespace) -> None:
    draw = np.random.default_rng(0)
    row_format = RowFormat(options.dim, "float16")
    step, packed = rows_per_block(row_format, options.rows, options.rows), keys(options.rows)

    def blocks() -> object:
        with (folder / "rows.f16").open("wb") as raw:
            for start in range(0, options.rows, step):
                rows = draw.standard_normal((min(step, options.rows - start), options.dim), np.float32)
                rows = rows.astype(np.float16)
                raw.write(rows.tobytes())
                yield Rows.of(row_format, packed[start : start + step], rows)

    ids = [f"clip-{number:07}" for number in range(options.rows)]
    write_blocks(folder / "clips.zarr", row_format, ids, options.rows, blocks(), {"fingerprint": "made-up"})  # type: ignore[arg-type]


def _child(folder: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.search.exact", "--folder", folder]
    for name in ("rows", "dim", "batch", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--scratch", help="where to put 2 GB")
    parser.add_argument("--folder", help="measure what lies here, in this process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
