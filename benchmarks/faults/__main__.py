"""Flips bits in every kind of file that the cache keeps, and kills everything that writes: tables of what became of it.

The long form of `tests/faults`. With `--repro`, a whole `dvc repro` is killed as well (see `repro`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cache.measure import show

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))


def main() -> None:
    """Prints the tables; exit code 1 if a row was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=20, help="bits per small file")
    parser.add_argument("--kills", type=int, default=40, help="of each command")
    parser.add_argument("--repro", type=int, default=0, help="kills of a whole dvc repro")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    from faults import flips, kills

    wrong = 0
    with tempfile.TemporaryDirectory(prefix="hearonce-faults-") as folder:
        for name, work, n, columns in (
            ("flipped bits", flips.campaign, options.flips, flips.OUTCOMES),
            ("kills", kills.campaign, options.kills, ("kills", "ended before the kill", "completed by the next run")),
        ):
            if n:
                Path(folder, name).mkdir()
                tally = work(Path(folder, name), n, options.seed)
                _show(name, tally, columns)
                wrong += sum(number for (_, outcome), number in tally.items() if outcome == "wrong")
        if options.repro:
            from benchmarks.faults import repro

            _show("dvc repro", repro.campaign(Path(folder), options.repro, options.seed), ("kills", "same outputs"))
    sys.exit(wrong > 0)


def _show(title: str, tally: Counter[tuple[str, str]], columns: Sequence[str]) -> None:
    kinds = list(dict.fromkeys(kind for kind, _ in tally))
    show(title, ["kind", *columns], [[kind, *(str(tally[kind, one]) for one in columns)] for kind in kinds])


if __name__ == "__main__":
    main()
