"""What the benchmarks of the cache share: the rows, medians, cold files and a table for the README."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cache.artifact import Artifact, open_artifact, write_blocks
from cache.formats.group import rows_per_block
from cache.rows import RowFormat, Rows


def arguments(about: str | None, **more: tuple[type, object, str]) -> argparse.Namespace:
    """Reads `--rows`, `--dim`, `--repeats`, `--folder` and what a benchmark adds: name -> (type, default, help)."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    for name, (kind, default, text) in more.items():
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    return parser.parse_args()


@contextmanager
def folder(options: argparse.Namespace) -> Iterator[Path]:
    """A fresh folder that is gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix="hearonce-benchmark-", dir=options.folder))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def embeddings(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Random directions as float16 (n, dim): unit length, as the embeddings of most encoders."""
    generator = np.random.default_rng(seed)
    out = np.empty((n, dim), np.float16)
    for start in range(0, n, 1 << 16):
        block = generator.standard_normal((min(1 << 16, n - start), dim), np.float32)
        out[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return out


def keys(n: int, seed: int = 1) -> np.ndarray:
    """Random row keys, uint8 (n, 16)."""
    return np.frombuffer(np.random.default_rng(seed).bytes(16 * n), np.uint8).reshape(n, 16)


def artifact(path: Path, values: np.ndarray, ids: Sequence[str] | None = None) -> Artifact:
    """Writes an artifact of these rows; those of a longer array begin with the same keys."""
    row_format = RowFormat(values.shape[1], "float16")
    packed = keys(len(values))
    step = rows_per_block(row_format, len(values), len(values))
    blocks = (
        Rows(row_format, packed[start : start + step], values[start : start + step])
        for start in range(0, len(values), step)
    )
    description = {"modality": "clips", "encoder": "benchmark", "fingerprint": "0" * 32}
    names = [f"clip-{i:07d}" for i in range(len(values))] if ids is None else ids
    write_blocks(path, row_format, names, len(values), blocks, description)
    return open_artifact(path)


def side_by_side(
    repeats: int, before: Callable[[], object] | None = None, **ways: Callable[[], object]
) -> dict[str, float]:
    """Median seconds of each way; one after the other in turn, so that a busy machine slows all of them.

    `before` is called before each, and its time does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            if before is not None:
                before()
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def forget(path: Path) -> None:
    """Asks the system to drop the files below a path from memory, so that they are read from the disk."""
    for one in (path, *path.rglob("*")):
        if one.is_file():
            descriptor = os.open(one, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def show(title: str, head: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    """Prints a Markdown table."""
    print(f"\n{title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for line in lines:
        print("| " + " | ".join(str(one) for one in line) + " |", flush=True)
