"""Projects in which `dvc repro` runs for real, and DVC's own time for as many trivial stages."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))

from clone import REPOSITORY, working_tree

__all__ = ["REPOSITORY", "Repro", "repro", "run", "trivial", "working_tree", "write_params"]
SECTIONS = ("corpora", "descriptions", "imports", "labels", "trainings", "embeddings", "subsets", "search")


@dataclass(frozen=True)
class Repro:
    """One `dvc repro`: seconds of wall clock and of processors, stages that ran, stages in all, what was printed."""

    seconds: float
    processors: float
    ran: tuple[str, ...]
    n_stages: int
    output: str

    @property
    def parts(self) -> list[tuple[str, float]]:
        """Seconds from the start of each stage that ran to the next line that DVC printed about a stage."""
        marks = [(float(second), line) for second, line in re.findall(r"^@(\d+\.\d+) (.*)$", self.output, flags=re.M)]
        starts = [(at, match[1]) for at, line in marks if (match := re.match(r"Running stage '(.*)'", line))]
        events = sorted(at for at, line in marks if re.match(r"(Running stage|Updating lock|Stage ')", line))
        ends = [next((event for event in events if event > at), self.seconds) for at, _ in starts]
        return [(name, end - at) for (at, name), end in zip(starts, ends, strict=True)]


def write_params(root: Path, sections: Mapping[str, Mapping[str, str]]) -> None:
    """Writes params.yaml: in each section, names and their values as YAML."""
    lines = []
    for section in SECTIONS:
        entries = sections.get(section, {})
        lines.append(f"{section}:" if entries else f"{section}: {{}}")
        lines += [f"  {name}: {value}" for name, value in entries.items()]
    (root / "params.yaml").write_text("\n".join(lines) + "\n")


def variables(root: Path) -> dict[str, str]:
    """The environment of this interpreter's programs in a project whose own code is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEARONCE", "PYTHON"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}


def run(root: Path, *command: str) -> str:
    """Runs a program in a project; what it printed."""
    done = subprocess.run(command, cwd=root, env=variables(root), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def repro(root: Path) -> Repro:
    """Runs `dvc repro`, every line with the seconds since its start."""
    begun, before, lines = time.monotonic(), _processors(), []
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=root,
        env={**variables(root), "PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(f"@{time.monotonic() - begun:.3f} {line.rstrip()}")
    process.wait()
    seconds, output = time.monotonic() - begun, "\n".join(lines)
    assert process.returncode == 0, output
    ran = re.findall(r"Running stage '(.*)'", output)
    return Repro(
        seconds,
        _processors() - before,
        tuple(ran),
        len(ran) + len(re.findall(r"Stage '.*' (?:didn't|is cached)", output)),
        output,
    )


def _processors() -> float:
    """Processor seconds of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def trivial(root: Path, n_run: int, n_kept: int, n_outs: int = 3) -> tuple[float, float]:
    """DVC's own time for stages that copy a line: seconds when n_run of them run, and when none runs."""
    root.mkdir(parents=True)
    lines = ["stages:"]
    for i in range(n_run + n_kept):
        source = "changed" if i < n_run else "kept"
        names = [f"out{i}-{j}" for j in range(n_outs)]
        command = " && ".join(f"cp {source} {name}" for name in names)
        lines += [f"  stage{i}:", f"    cmd: {command}", f"    deps: [{source}]", f"    outs: [{', '.join(names)}]"]
    (root / "dvc.yaml").write_text("\n".join(lines) + "\n")
    (root / "changed").write_text("before\n")
    (root / "kept").write_text("kept\n")
    run(root, "git", "init", "-q")
    run(root, "dvc", "init", "-q")
    repro(root)
    (root / "changed").write_text("after\n")
    changed = repro(root)
    assert len(changed.ran) == n_run, changed.output
    return changed.seconds, min(repro(root).seconds for _ in range(3))
