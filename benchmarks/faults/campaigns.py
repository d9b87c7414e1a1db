"""The campaigns of `python -m benchmarks.faults`; the work itself lies in tests/faults, which runs it shortly."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from faults import flipped_audio, flips, kills, mutations, refusing

REPOSITORY = Path(__file__).parents[2]
Tally = Counter[tuple[str, str]]


def flipped_bits(folder: Path, rounds: int, seed: int) -> Tally:
    """Of stores, artifacts and exports: found, and healed by `repair` and the next run."""
    return flips.campaign(folder, 2 * rounds, seed)


def flipped_bits_beside_rows(folder: Path, rounds: int, seed: int) -> Tally:
    """Of extracted audio, its records, remembered digests and answers."""
    tally: Tally = Counter()
    for kind, counted in flipped_audio.campaign(folder, 40 * rounds, seed).items():
        tally[kind, "flipped"] = sum(counted.values())
        tally.update({(kind, outcome): number for outcome, number in counted.items()})
    return tally


def kills_of_writers(folder: Path, rounds: int, seed: int) -> Tally:
    """An assertion ends the campaign if anything that was committed is lost."""
    return kills.campaign(folder, 4 * rounds, seed)


def kills_of_repro(folder: Path, rounds: int, seed: int) -> Tally:
    """A whole `dvc repro`, killed with its process group."""
    from benchmarks.faults import repro

    return repro.campaign(folder, rounds, seed)


def false_stores(folder: Path, rounds: int, seed: int) -> Tally:
    """Each is taken to `merge` or `import`, `verify`, `info` and `convert`; there are as many as there are claims."""
    number, wrong = refusing.campaign(folder, every=1 if rounds > 1 else 3)
    print("\n".join(wrong), file=sys.stderr)
    return Counter({("false stores and files", "inputs"): number, ("false stores and files", "wrong"): len(wrong)})


def damaged_inputs(folder: Path, rounds: int, seed: int) -> Tally:
    """Media, pictures, archives, checkpoints, pickles, vectors, captions, lists and configs."""
    tally, wrong = mutations.campaign(folder, 25 * rounds, seed)
    print("\n".join(wrong), file=sys.stderr)
    return tally


PARTS: dict[str, Callable[[Path, int, int], Tally]] = {
    one.__name__.replace("_", "-"): one
    for one in (flipped_bits, flipped_bits_beside_rows, kills_of_writers, kills_of_repro, false_stores, damaged_inputs)
}


def _project(root: Path) -> Path:
    """A project without corpora."""
    shutil.copytree(REPOSITORY / "configs", root / "configs", ignore=shutil.ignore_patterns("media"))
    (root / "params.yaml").write_text("corpora: {}\nembeddings: {}\nsubsets: {}\n")
    return root


def run(part: str, rounds: int, seed: int) -> Tally:
    """Runs one of `PARTS` in a project of its own: how many of each (kind, outcome)."""
    with tempfile.TemporaryDirectory() as name:
        (work := Path(name) / "work").mkdir()
        with contextlib.chdir(_project(Path(name) / "project")):
            return PARTS[part](work, rounds, seed)
