"""Scoring an embedding cache whose similarities are larger than memory, beside what the machine can multiply.

`python -m benchmarks.scoring.at_scale` makes a corpus of 1,000,000 clips and 10,000 captions, dim 512, runs the stage
`score` on it in a process of its own, and prints seconds, peak memory and the ratio to the time that a float32 matrix
product of that size would take. How fast the machine multiplies is measured before, after and every few blocks in
between, and these moments are taken off the seconds of scoring: on a machine that others use, too, both suffer alike.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cache import tables
from cache.artifact import write_blocks
from cache.rows import RowFormat, Rows
from pipeline.config import layout

NAME, ENCODER = "large", "made-up"
PAIRED = {"captions": "each caption has one clip", "clips": "each clip has one caption"}


def main() -> None:
    """Prints a table; with `--folder` measures a corpus that lies there and prints JSON."""
    options = _options()
    if options.folder:
        os.chdir(options.folder)
        print(json.dumps(measure(options.clips, options.captions, options.dim)))
        return
    print(f"{options.clips:,} clips × {options.captions:,} captions, dim {options.dim}, {options.dtype}\n")
    print("| pairs | score, s | product alone, s | ratio | product at its fastest, s | peak RSS, MiB | results |")
    print("|---|---|---|---|---|---|---|")
    for pairs in options.pairs:
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            write_corpus(Path(folder), options, pairs)
            found = _child(folder, options)
        shown = "; ".join(
            f"{name.replace('_', ' ')} R@10 {found[name]['R@10']:.2f}, MedR {found[name]['MedR']:,.0f}"
            for name in ("text_to_clip", "clip_to_text")
        )
        print(
            f"| {PAIRED[pairs]} | {found['seconds']:.1f} | {found['limit_seconds']:.1f} | "
            f"{found['limit_seconds'] / found['seconds']:.2f} | {found['fastest_seconds']:.1f} | "
            f"{found['peak_mib']:,.0f} | {shown} |",
            flush=True,
        )


def measure(n_clips: int, n_captions: int, dim: int) -> dict[str, object]:
    """Runs the stage, with measurements of the machine's limit before, within and after it."""
    limit = Limit(dim)
    limit.measure()
    started = time.perf_counter()
    from stages.score.command import score
    from stages.score.retrieval import Retrieval

    blocks = Retrieval._blocks

    def with_measurements(*arguments: Any) -> Iterator[tuple[int, Any]]:
        for number, block in enumerate(blocks(*arguments)):
            if number % 64 == 63:
                limit.measure()
            yield block

    Retrieval._blocks = with_measurements  # type: ignore[method-assign]
    before = limit.seconds
    with contextlib.redirect_stdout(io.StringIO()):
        score(NAME, "all")
    seconds = time.perf_counter() - started - (limit.seconds - before)
    peak = peak_mib()
    limit.measure()
    operations = 2 * n_clips * n_captions * dim
    return {
        "seconds": seconds,
        "limit_seconds": operations / limit.rate,
        "fastest_seconds": operations / limit.fastest,
        "peak_mib": peak,
        **json.loads((layout.results(NAME, "all") / "metrics.json").read_text())[NAME],
    }


class Limit:
    """How fast numpy multiplies float32 matrices.

    Attributes:
        seconds: spent on measuring.
        fastest: operations a second, the best of all measurements.
    """

    def __init__(self, dim: int) -> None:
        self._left, self._right = np.ones((2_048, dim), np.float32), np.ones((10_000, dim), np.float32)
        self._out = np.empty((2_048, 10_000), np.float32)
        self._operations = 0
        self.seconds = self.fastest = 0.0

    @property
    def rate(self) -> float:
        """Operations a second over all measurements."""
        return self._operations / self.seconds

    def measure(self, repeats: int = 4) -> None:
        """Measures once more."""
        for _ in range(repeats):
            started = time.perf_counter()
            np.matmul(self._left, self._right.T, out=self._out)
            seconds, operations = time.perf_counter() - started, 2 * self._out.size * self._left.shape[1]
            self.seconds, self._operations = self.seconds + seconds, self._operations + operations
            self.fastest = max(self.fastest, operations / seconds)


def peak_mib() -> float:
    """Most memory that this process has had; `getrusage` would begin with that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def write_corpus(root: Path, options: argparse.Namespace, pairs: str) -> None:
    """Tables, artifacts and an experiment: each clip in a pair leans towards its caption.

    Args:
        root: folder of the project.
        options: sizes, dtype, and `signal`, the mean cosine of a pair.
        pairs: a key of `PAIRED`.
    """
    generator = np.random.default_rng(0)
    n, m = options.clips, options.captions
    captions = generator.standard_normal((m, options.dim), np.float32)
    caption_of = np.full(n, -1)
    if pairs == "captions":
        caption_of[generator.permutation(n)[:m]] = np.arange(m)
    else:
        caption_of = generator.integers(0, m, n)

    def clips(first: int, last: int) -> np.ndarray:
        own = caption_of[first:last]
        noise = generator.standard_normal((last - first, options.dim), np.float32)
        lean = np.where(own >= 0, options.signal / np.sqrt(1 - options.signal**2), 0).astype(np.float32)
        return noise + lean[:, None] * captions[own]

    os.chdir(root)
    ids = {"clips": [f"clip-{i:07}" for i in range(n)], "captions": [f"caption-{i:06}" for i in range(m)]}
    row_format = RowFormat(options.dim, options.dtype)
    for modality, rows in (("clips", clips), ("captions", lambda first, last: captions[first:last])):
        path = layout.embeddings(NAME, ENCODER, modality)
        blocks = _blocks(row_format, len(ids[modality]), rows)
        write_blocks(path, row_format, ids[modality], len(ids[modality]), blocks, {"modality": modality})
    clip_table = pl.DataFrame({"clip_id": ids["clips"]}).with_columns(
        media_id="clip_id", media_path="clip_id", media_digest=pl.lit(""), start_s=pl.lit(0.0), stop_s=pl.lit(1.0)
    )
    described = np.flatnonzero(caption_of >= 0)
    paired = {
        "clip_id": np.array(ids["clips"])[described],
        "caption_id": np.array(ids["captions"])[caption_of[described]],
    }
    caption_table = pl.DataFrame({"caption_id": ids["captions"], "text": ids["captions"]})
    for name, table, schema in (
        ("clips", clip_table, tables.CLIPS),
        ("captions", caption_table.with_columns(source=pl.lit("given")), tables.CAPTIONS),
        ("pairs", pl.DataFrame(paired), tables.PAIRS),
    ):
        tables.write_table(table.select(*schema), schema, layout.table(NAME, name))
    Path(f"configs/experiments/{NAME}").mkdir(parents=True)
    Path(f"configs/experiments/{NAME}/{NAME}.yaml").write_text(f"corpus: {NAME}\nencoders: [{ENCODER}]\n")
    Path("params.yaml").write_text("corpora: {}\nembeddings: {}\nsubsets: {}\n")


def _blocks(row_format: RowFormat, n: int, rows: object) -> Iterator[Rows]:
    for first in range(0, n, 1 << 14):
        last = min(n, first + (1 << 14))
        keys = np.zeros((last - first, 16), np.uint8)
        keys[:, :8] = np.arange(first + 1, last + 1).astype("<u8").view(np.uint8).reshape(-1, 8)
        yield Rows.of(row_format, keys, rows(first, last))


def _child(folder: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scoring.at_scale", "--folder", folder]
    for name in ("clips", "captions", "dim"):
        command += [f"--{name}", str(getattr(options, name))]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": path, "HEARONCE_SCORE_MEMORY": str(options.memory)},
    )
    if done.returncode:
        sys.exit(f"scoring failed in {folder}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--captions", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--dtype", default="float32", help="of the embedding caches: float32, float16 or bfloat16")
    parser.add_argument("--signal", type=float, default=0.15, help="mean cosine of a clip and its caption")
    parser.add_argument("--pairs", nargs="+", choices=PAIRED, default=list(PAIRED))
    parser.add_argument("--memory", type=float, default=2.0, help="GiB that scoring may take")
    parser.add_argument("--scratch", help="where to put the corpus; needs about 2.2 GB")
    parser.add_argument("--folder", help="measure the corpus that lies here, in this process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
