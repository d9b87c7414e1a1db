"""End to end before and after: `python -m benchmarks.encoders.throughput --before DIR FAMILY...`.

DIR is a checkout of an older commit of this repository (`git worktree add DIR COMMIT`). Both embed the same files in
processes of their own, by turns; CPU time says more than the clock where a machine has other work as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.cache.measure import show
from benchmarks.encoders.material import CLIP_S, families

CHILD = """
import benchmarks.encoders, importlib.util, json, resource, sys, tempfile, time
from pathlib import Path
family, checkpoints, media, count, sentences, device, batch_size, workers = sys.argv[1:]
def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
found = {}
class part:
    def __init__(self, name, rows):
        self.name, self.rows = name, rows
    def __enter__(self):
        self.wall, self.cpu = time.perf_counter(), used()
    def __exit__(self, *error):
        found[self.name] = [self.rows, time.perf_counter() - self.wall, used() - self.cpu]
with part("import and load", 1):
    from benchmarks.encoders.material import filled_encoder, make_clips
    from benchmarks.encoders.speed import Bench
    from cache.location import Store
    from pipeline.monitor.device import pick_device
    from stages.embed.towers import load_tower
    encoder, device = filled_encoder(family, Path(checkpoints)), pick_device(device or None)
    tower = load_tower(encoder, "clips", device)
clips = make_clips(encoder, Path(media), int(count))
chooses = importlib.util.find_spec("pipeline.runner.batches") is not None
size = int(batch_size) if batch_size else None if chooses else 16
bench = Bench(encoder, tower, clips, size, int(workers) if workers else None, device)
with tempfile.TemporaryDirectory(dir=media) as folder:
    stores = [Path(folder) / name for name in ("first", "measured")]
    for path in stores:
        path.mkdir()
    bench.clips = clips[:3]
    bench.from_files(Store(stores[0]))
    bench.clips, store = clips, Store(stores[1])
    with part("from files", len(clips)):
        notes = bench.from_files(store)[1].note
    if bench.listens:
        with part("from extracted audio", len(clips)):
            bench.from_files(store)
if int(sentences) and "captions" in getattr(encoder, "towers", getattr(encoder, "sides", ())):
    words = "a person dog cuts an onion on the roof while rain and water run from a tap into the sink".split()
    texts = [" ".join(words[(i * k) % len(words)] for k in range(1, 4 + i % 12)) for i in range(int(sentences))]
    tower = load_tower(encoder, "captions", device)
    ready = [tower.prepare(text, b"0" * 16) for text in texts]
    tower.encode(ready[:64])
    with part("captions", len(texts)):
        for first in range(0, len(ready), 64):
            tower.encode(ready[first : first + 64])
print(json.dumps([found, notes]))
"""

Part = list[float]
"""Rows, seconds, CPU seconds."""


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=families(), help=f"of {', '.join(families())}; all by default")
    parser.add_argument("--before", type=Path, required=True, help="checkout of an older commit")
    parser.add_argument("--clips", type=int, default=60, help="of 10 s, each a compressed file of its own")
    parser.add_argument("--captions", type=int, default=512, help="texts of 3 to 14 words; 0 to leave them out")
    parser.add_argument("--rounds", type=int, default=3, help="both are measured by turns so many times")
    parser.add_argument("--device", default="", help="cpu, cuda, ...; a GPU where there is one by default")
    parser.add_argument("--batch-size", default="", help="of both; by default the older one's 16 and what is chosen")
    parser.add_argument("--workers", default="", help="of both; chosen by default")
    parser.add_argument("--folder", type=Path, help="where media and checkpoints are kept; temporary by default")
    parser.add_argument("--json", type=Path, help="also write the results here")
    return parser.parse_args()


def measured(checkout: Path, family: str, parsed: argparse.Namespace, folder: Path) -> tuple[dict[str, Part], str]:
    """Parts of one run of a checkout, and what its summary remarked."""
    given = [str(parsed.clips), str(parsed.captions), parsed.device, parsed.batch_size, parsed.workers]
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    checkpoints, media = folder / f"checkpoints-{family}", folder / f"media-{family}"
    for path in (checkpoints, media):
        path.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", CHILD, family, str(checkpoints), str(media), *given]
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{family} could not be measured in {checkout}.")
    parts, notes = json.loads(done.stdout.splitlines()[-1])
    return parts, notes


def compared(pairs: Sequence[tuple[Part, Part]]) -> dict[str, float]:
    """Medians of one part over the rounds, and the medians of the ratios within each round."""
    before, after = ([pair[which] for pair in pairs] for which in (0, 1))
    return {
        "before, per s": median(rows / seconds for rows, seconds, _ in before),
        "after, per s": median(rows / seconds for rows, seconds, _ in after),
        "times as fast": median(old[1] / new[1] for old, new in pairs),
        "before, CPU ms": median(1000 * cpu / rows for rows, _, cpu in before),
        "after, CPU ms": median(1000 * cpu / rows for rows, _, cpu in after),
        "CPU ratio": median(old[2] / new[2] for old, new in pairs),
    }


def main() -> None:
    """Measures, prints a table and perhaps writes JSON."""
    parsed = options()
    results: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="hearonce-benchmark-") as temporary:
        folder = (parsed.folder or Path(temporary)).resolve()
        here = Path(__file__).parents[2]
        for family in parsed.families:
            measured(parsed.before, family, parsed, folder)  # makes the files
            rounds = [
                [measured(checkout, family, parsed, folder) for checkout in (parsed.before, here)]
                for _ in range(parsed.rounds)
            ]
            for name in rounds[0][0][0]:
                pairs = [(old[0][name], new[0][name]) for old, new in rounds]
                results.append({"encoder": family, "part": name, **compared(pairs), "chosen": rounds[-1][1][1]})
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    head = list(results[0])[:-1]
    lines = [[f"{v:.3g}" if isinstance(v := one[key], float) else v for key in head] for one in results]
    show(f"{parsed.clips} clips of {CLIP_S:.0f} s, {parsed.rounds} rounds", head, lines)
    if parsed.json:
        parsed.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
