"""`python -m benchmarks.faults.audio [--rounds N]`: flipped bits in extracted audio, its records, digests and answers.

The long form of tests/faults/test_flipped_bits_in_audio.py: prints what became of each kind of flip. `wrong` must be 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from faults.flipped_audio import campaign


def main() -> None:
    """Runs the campaign and prints a table in Markdown; exit code 1 if a value was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000, help="flips for each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        outcomes = campaign(Path(folder), options.rounds, options.seed)
    print("| file | bits flipped | found | healed | harmless | wrong |\n|---|---|---|---|---|---|")
    for kind, counted in outcomes.items():
        named = (counted[name] for name in ("found", "healed", "harmless", "wrong"))
        print(f"| {kind} | {sum(counted.values())} | {' | '.join(map(str, named))} |")
    print(f"\n{time.monotonic() - started:.0f} s, seed {options.seed}")
    sys.exit(any(counted["wrong"] for counted in outcomes.values()))


if __name__ == "__main__":
    main()
