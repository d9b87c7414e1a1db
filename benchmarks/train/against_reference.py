"""Losses of training beside those of the original AVLnet's `train.py`, on the same pickles, weights and clip order.

    python -m benchmarks.train.against_reference --reference AVLNET_FOLDER

AVLNET_FOLDER is a checkout of github.com/roudimit/AVLnet. Both sides read the same made pickles, which ours imports
with the commands that users run. `--golden FILE` writes the original's losses for tests/parity.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.train import comparison
from benchmarks.train.comparison import PUBLISHED, SMALL, Case, Curve, Size

TOLERANCE = 1e-3


def main() -> None:
    """Makes the material, trains both ways, prints a table; exit code 1 if losses differ."""
    options = _options()
    size = PUBLISHED if options.full else Size(PUBLISHED.widths, SMALL.frames) if options.trunk else SMALL
    chosen = [one for one in comparison.cases(tuple(options.seeds)) if all(part in one.name for part in options.only)]
    with tempfile.TemporaryDirectory(prefix="hearonce-reference-") as folder:
        os.chdir(folder)
        import torch

        torch.set_num_threads(1)
        comparison.write_material(size)
        for case in chosen:
            comparison.write_checkpoint(case, size)
        theirs = original(options.reference.resolve(), chosen, size)
        if options.golden:
            options.golden.write_text(_golden(chosen, theirs, torch.__version__))
        comparison.import_material()
        ours = [comparison.ours(case, size) for case in chosen]
        os.chdir("/")
    print("\n| training | original: mode | original: losses 1, 2, 3, 20 | ours | largest difference | evaluations |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for case, wanted, found in zip(chosen, theirs, ours, strict=True):
        modes = set(wanted.modes)
        curves = [one.losses[: comparison.N_LOSSES] for one in (wanted, found)]
        difference = float(np.max(np.abs(np.array(curves[1]) / curves[0] - 1)))
        worst = max(worst, difference) if modes == {case.mode} else np.inf
        shown = (" ".join(f"{one:.5f}" for one in [*curve[:3], curve[-1]]) for curve in curves)
        same = "same" if np.allclose(wanted.evaluations, found.evaluations) else "other"
        print(
            f"| {case.name} | {', '.join(sorted(modes))} | {' | '.join(shown)} | {difference:.1e} | "
            f"{same if wanted.evaluations else ''} |"
        )
    print(f"\n{len(chosen)} trainings of {comparison.N_LOSSES} steps: largest relative difference {worst:.1e}")
    sys.exit(0 if worst <= TOLERANCE else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="folder of github.com/roudimit/AVLnet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="*", default=[], help="trainings whose name has all of these: bi, msrvtt, ...")
    parser.add_argument("--trunk", action="store_true", help="trunk of the published size: minutes a training")
    parser.add_argument("--full", action="store_true", help="trunk and spectrograms of the published size: hours")
    parser.add_argument("--golden", type=lambda text: Path(text).resolve(), help="file for the original's losses")
    return parser.parse_args()


def original(reference: Path, cases: list[Case], size: Size) -> list[Curve]:
    """What comes of each training in the original's code."""
    request = {
        "reference": str(reference),
        "widths": size.widths,
        "frames": size.frames,
        "cases": [asdict(one) for one in cases],
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.train.original"],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(comparison.REPOSITORY)},
    )
    return [Curve(**one) for one in json.loads(done.stdout.splitlines()[-1])]


def _golden(cases: list[Case], found: list[Curve], version: str) -> str:
    rows: list[dict[str, Any]] = []
    for case, curve in zip(cases, found, strict=True):
        losses = [round(loss, 6) for loss in curve.losses][: comparison.N_LOSSES]
        evaluations = [[round(value, 4) for value in one] for one in curve.evaluations]
        rows.append({"case": asdict(case), "losses": losses, "evaluations": evaluations})
    lines = ",\n".join(json.dumps(row) for row in rows)
    return f'{{"made_by": "python -m benchmarks.train.against_reference, torch {version}", "cases": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    main()
