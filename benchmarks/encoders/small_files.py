"""Many small files: `python -m benchmarks.encoders.small_files`. Files a second, warm page cache, all processors.

`ingest` beside demuxing all packets by PyAV and BLAKE2b of the bytes; `extract_audio` beside decoding by PyAV and
encoding by libFLAC. Each pair runs by turns in one process, and each round in a project of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np
import soundfile

from benchmarks.cache.measure import show
from benchmarks.encoders.material import in_parallel, sound_file
from pipeline.monitor.device import processors
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest

PARAMS = "corpora:\n  small: {media: media, annotations: media}\ndescriptions: {}\nimports: {}\nlabels: {}\n"
REST = "trainings: {}\nembeddings: {}\nsubsets: {}\n"


@contextlib.contextmanager
def project(media: Path) -> Iterator[None]:
    """A new project of these media, the current folder meanwhile."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(dir=media.parent) as folder:
        os.chdir(folder)
        try:
            shutil.copytree(Path(__file__).parents[2] / "configs", "configs")
            Path("params.yaml").write_text(PARAMS + REST)
            Path("configs/corpora/small.yaml").write_text("reader: folder\nwindow_s: null\ncaptions_from: filename\n")
            Path("media").symlink_to(media)
            yield
        finally:
            os.chdir(before)


def demux_and_digest(path: Path) -> None:
    """All packets of a file by PyAV, and the digest of its bytes."""
    with path.open("rb") as file:
        hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    with av.open(str(path)) as container:
        for packet in container.demux():
            assert packet.size >= 0


def decode_and_encode(path: Path, folder: Path) -> None:
    """All audio of a file by PyAV, as FLAC by libFLAC."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
        rate = stream.rate
    soundfile.write(folder / f"{path.stem}.flac", np.concatenate(frames, 1).T, rate, subtype="PCM_16", format="FLAC")


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    return time.perf_counter() - wall, time.process_time() - cpu


def in_threads(work: Callable[[Path], object], files: Sequence[Path]) -> None:
    """Calls `work` with each file, in as many threads as there are processors."""
    with ThreadPoolExecutor(processors()) as pool:
        list(pool.map(work, files))


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each file, an MP3 in stereo at 48 kHz")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where files are kept; temporary by default")
    parsed = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="hearonce-benchmark-") as temporary:
        media = (parsed.folder or Path(temporary)).resolve() / "small"
        media.mkdir(parents=True, exist_ok=True)
        files = [media / f"{number:05d}.mp3" for number in range(parsed.files)]
        in_parallel(lambda i: files[i].is_file() or sound_file(files[i], i, parsed.seconds), range(len(files)), None)
        for number in range(parsed.rounds + 1):
            with project(media), tempfile.TemporaryDirectory() as flac:
                ways: dict[str, Callable[[], object]] = {
                    "demux + digest": lambda: in_threads(demux_and_digest, files),
                    "ingest": lambda: ingest("small", strict=True),
                    "decode + FLAC": lambda: in_threads(partial(decode_and_encode, folder=Path(flac)), files),
                    "extract_audio": lambda: extract_audio("small", strict=True),
                }
                for name, way in ways.items():
                    took = seconds(way)
                    if number:  # the first warms up
                        found.setdefault(name, []).append(took)
    lines = []
    for limit, name in (("demux + digest", "ingest"), ("decode + FLAC", "extract_audio")):
        ours, peer = found[name], found[limit]
        ratios = [statistics.median(p[i] / o[i] for p, o in zip(peer, ours, strict=True)) for i in (0, 1)]
        rates = [parsed.files / statistics.median(one[0] for one in column) for column in (ours, peer)]
        lines.append([name, *(f"{rate:.0f}" for rate in rates), limit, *(f"{ratio:.2f}" for ratio in ratios)])
    load = f"load {os.getloadavg()[0]:.1f} on {processors()} processors"
    head = ["stage", "files/s", "limit, files/s", "limit", "ratio", "ratio of CPU time"]
    show(f"{parsed.files} files of {parsed.seconds:g} s; {load}", head, lines)


if __name__ == "__main__":
    main()
