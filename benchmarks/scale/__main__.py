"""Processor seconds and peak memory of every stage's own work at growing numbers of rows, and how fast both grow.

Each part runs in a process of its own on a project of so many clips and captions. The tower computes nothing, and
nothing is decoded: what is measured is everything around them. An exponent is fitted to the two upper decades, after
the time (or memory) at the fewest rows has been taken off as the start-up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cache.measure import show
from benchmarks.scale.growth import fitted

SMALLEST = 1000
DENSE = ("score", "score-subset", "report")
LEAST_SECONDS, LEAST_BYTES = 0.05, 4 << 20


def main() -> None:
    """Prints a table."""
    options = _options()
    if options.part:
        _child(options)
        return
    sizes = [SMALLEST]
    while sizes[-1] * 10 <= options.largest:
        sizes.append(sizes[-1] * 10)
    found: dict[str, dict[int, dict[str, float]]] = {}
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="hearonce-benchmark-", dir=options.folder) as folder:
            _run("project", rows, folder)
            for part in options.only or _names():
                if part not in DENSE or rows <= options.largest_scored:
                    found.setdefault(part, {})[rows] = _run(part, rows, folder)
    _show(found, sizes)


def _names() -> list[str]:
    from benchmarks.scale.parts import PARTS

    return list(PARTS)


def _run(part: str, rows: int, folder: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale", "--part", part, "--rows", str(rows), "--folder", folder]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH")))),
    }
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    print(f"{rows:>9,} {part}: {done.stdout.strip()}", file=sys.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _child(options: argparse.Namespace) -> None:
    os.chdir(options.folder)
    if options.part == "project":
        from benchmarks.scale.project import make_project

        make_project(options.rows)
        print("{}")
    else:
        from benchmarks.scale.parts import measured

        print(json.dumps(measured(options.part)))


def _show(found: dict[str, dict[int, dict[str, float]]], sizes: list[int]) -> None:
    from benchmarks.scale.howto100m import show_howto100m
    from benchmarks.scale.parts import PARTS

    lines, growth = [], {}
    for part, values in found.items():
        seconds = {rows: one["seconds"] for rows, one in values.items()}
        memory = {rows: one["bytes"] for rows, one in values.items()}
        time, space = fitted(seconds, least=LEAST_SECONDS), fitted(memory, least=LEAST_BYTES)
        growth[part] = (PARTS[part][0], time, space)
        per_row = (memory[max(memory)] - memory[min(memory)]) / max(1, max(memory) - min(memory))
        lines.append(
            [
                PARTS[part][0],
                *(f"{seconds[rows]:.2f}" if rows in seconds else "" for rows in sizes),
                f"{values[max(values)]['clock']:.2f}",
                _exponent(time.exponent),
                f"{max(memory.values()) / 2**20:,.0f}",
                _exponent(space.exponent),
                f"{max(0.0, per_row):,.0f}",
            ]
        )
    sized = [f"{rows:,} rows, s" for rows in sizes]
    head = ["what", *sized, "by the clock, s", "exponent", "memory, MiB", "exponent", "bytes a row"]
    show("How it grows", head, lines)
    if len(sizes) > 2:
        show_howto100m({name: one for name, one in growth.items() if name not in DENSE})


def _exponent(value: float) -> str:
    return f"{value:.2f}" if value > 0 else "–"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--largest", type=int, default=1_000_000, help="rows, by tens from 1,000 on")
    parser.add_argument("--largest-scored", type=int, default=100_000, help="rows of scoring and the report")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--only", nargs="*", help="these parts alone; later ones need what earlier ones write")
    parser.add_argument("--part", help="measure this alone in --folder, and print JSON")
    parser.add_argument("--rows", type=int, default=SMALLEST, help="of --part")
    return parser.parse_args()


if __name__ == "__main__":
    main()
