"""`python -m benchmarks.faults [--rounds N] [--seed S] [--only PART ...]`: all fault campaigns, as one table by kind.

The long form of what tests/faults runs for a few seconds: bits flipped in every kind of file of the store, what lies
beside rows, writers killed at random moments, stores whose claims are false, and damaged inputs of every kind. Each
line says how many, and what became of them; `wrong` must be 0, else the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.faults.campaigns import PARTS, run


def main() -> None:
    """Runs the campaigns and prints a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="times the numbers of the tests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args()
    failed = False
    print("| campaign | kind | number | what became of them | wrong |\n|---|---|---|---|---|")
    for part in options.only:
        started = time.monotonic()
        with ProcessPoolExecutor(
            1, get_context("spawn")
        ) as fresh:  # threads of one part would deadlock the next's forks
            tally = fresh.submit(run, part, options.rounds, options.seed).result()
        for kind in dict.fromkeys(kind for kind, _ in tally):
            counted = {outcome: number for (one, outcome), number in tally.items() if one == kind and number}
            wrong = counted.pop("wrong", 0)
            number = counted.pop("flipped", 0) or counted.pop("inputs", 0) or counted.get("kills", 0)
            became = ", ".join(f"{number} {outcome}" for outcome, number in counted.items() if outcome != "kills")
            print(f"| {part} | {kind} | {number} | {became} | {wrong} |", flush=True)
            failed = failed or bool(wrong)
        print(f"{part}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(f"\nrounds {options.rounds}, seed {options.seed}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
