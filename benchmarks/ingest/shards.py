"""Ingest of WebDataset shards beside reading them: `python -m benchmarks.ingest.shards --members 100000`.

Five times over the same shards, each in a process of its own, best of several runs, page cache warm:

- `tarfile`: every member read by tarfile, and the digest of its bytes;
- `PyAV`: that, and the packets of each medium by PyAV from memory, which is what its length takes;
- `ingest`: reader `webdataset`, from an empty store to annotations, with captions and headers;
- `known`: the same when headers are remembered and the shards are not, which is what the tar files themselves take;
- `again`: the same once more, when nothing has changed.

All but the last read with all cores, a shard for each.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

PER_SHARD = 10_000
SECONDS, RATE = 0.5, 16_000


def make(folder: Path, n: int) -> None:
    """Writes shards of FLAC files of half a second, each with a caption and a JSON object."""
    noise = np.random.default_rng(0).normal(0, 0.1, (64, int(SECONDS * RATE))).astype(np.float32)
    for start in range(0, n, PER_SHARD):
        with tarfile.open(folder / f"{start // PER_SHARD:05d}.tar", "w") as tar:
            for number in range(start, min(start + PER_SHARD, n)):
                samples = np.roll(noise[number % 64], number)
                samples[:4] = (number % 251 / 251, number % 241 / 241, number % 239 / 239, number % 233 / 233)
                buffer = io.BytesIO()
                soundfile.write(buffer, samples, RATE, format="FLAC")
                texts = {"txt": f"sound {number}".encode(), "json": b'{"caption": "a sound", "duration": 0.5}'}
                for ending, data in {"flac": buffer.getvalue(), **texts}.items():
                    info = tarfile.TarInfo(f"{number:09d}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def plain(path: Path, each: Callable[[str, bytes], object]) -> None:
    """All members by tarfile, as a reader that knows nothing of the corpus would."""
    with tarfile.open(path, "r:") as tar:
        for info in tar:
            file = tar.extractfile(info)
            if file is not None:
                data = file.read()
                hashlib.blake2b(data, digest_size=16).hexdigest()
                each(info.name, data)
            tar.members = []  # type: ignore[attr-defined]


def packets(name: str, data: bytes) -> None:
    """The packets of a medium."""
    import av

    if name.endswith(".flac"):
        with av.open(io.BytesIO(data)) as container:
            for _ in container.demux():
                pass


def measured(what: str, folder: Path) -> float:
    """Seconds of one of the ways, in this process."""
    paths = sorted(folder.glob("*.tar"))
    each = {"tarfile": lambda *_: None, "PyAV": packets}.get(what)
    if each is not None:
        if what == "PyAV":
            import av  # noqa: F401
        begun = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda path: plain(path, each), paths))
        return time.perf_counter() - begun
    from pipeline.config.corpus import CorpusConfig
    from pipeline.config.params import CorpusPlace
    from stages.ingest.readers import webdataset

    begun = time.perf_counter()
    found = webdataset.read(CorpusPlace(media=folder, annotations=folder), CorpusConfig(reader="webdataset"))
    assert not found.faults and all(segment.captions for segment in found.segments)
    return time.perf_counter() - begun


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=100_000, help="media; each has two texts beside it")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help="measure in this process")
    options = parser.parse_args()
    if options.one:
        print(measured(options.one[0], Path(options.one[1])))
        return
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "shards")
        folder.mkdir()
        make(folder, options.members)
        best: dict[str, float] = {}
        for _ in range(options.repeats):
            for what in ("tarfile", "PyAV", "ingest", "known", "again"):
                if what in ("ingest", "known"):
                    shutil.rmtree(Path(root, ".hearonce" + "/shards" * (what == "known")), ignore_errors=True)
                command = [sys.executable, "-m", "benchmarks.ingest.shards", "--one", what, str(folder)]
                environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "HEARONCE_STORE": ""}
                said = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True)
                best[what] = min(best.get(what, float("inf")), float(said.stdout.split()[-1]))
        size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{options.members} media, {size / 1e6:.0f} MB, {os.cpu_count()} cores, best of {options.repeats}\n")
    print("| way | seconds | media/s | beside tarfile | beside PyAV |\n|---|---|---|---|---|")
    for what, seconds in best.items():
        ratios = f"{seconds / best['tarfile']:.2f} | {seconds / best['PyAV']:.2f}"
        print(f"| {what} | {seconds:.2f} | {options.members / seconds:.0f} | {ratios} |")


if __name__ == "__main__":
    main()
