"""A clone of the working tree, in which commands and `dvc repro` run for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
MEDIA = REPOSITORY / "configs/corpora/demo/media"
LEFT_OUT = ("tests/", "docs/", "configs/corpora/demo/", "dvc.lock")


class Clone:
    """A working tree with DVC, and what its last `dvc repro` did."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.output = ""

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("HEARONCE", "DVC"))}
        variables |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
            "HF_HUB_OFFLINE": "1",
            **environment,
        }
        return subprocess.Popen(
            command, cwd=self.root, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*command, **environment)
        output, _ = process.communicate()
        assert not check or process.returncode == 0, output
        return subprocess.CompletedProcess(command, process.returncode, output)

    def repro(self, **environment: str) -> Clone:
        self.output = self.run("dvc", "repro", **environment).stdout
        return self

    @property
    def ran(self) -> list[str]:
        return re.findall(r"^Running stage '(.*)':", self.output, flags=re.M)

    def computed(self, stage: str, of: str = "mine") -> int:
        """Rows that a stage computed; of embed, `embed clips` or `embed captions`, by the first encoder of a corpus."""
        name, _, items = stage.partition(" ")
        match = re.search(rf"^{name} {of}.*?{items}.*? (\d+) computed", self.output, flags=re.M)
        assert match, f"{stage} {of} did not run:\n{self.output}"
        return int(match[1])

    def metrics(self, experiment: str = "mine-audio", of: str = "mine", subset: str = "all") -> dict:
        return json.loads((self.root / "data/results" / of / subset / "metrics.json").read_text())[experiment]

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)

    def add_video(self, name: str, caption: str) -> None:
        shutil.copy(MEDIA / f"{name}.mp4", self.root / "videos")
        self.add_caption(name, caption)

    def add_caption(self, name: str, caption: str) -> None:
        with (self.root / "captions.csv").open("a") as file:
            file.write(f"{name}.mp4,{caption}\n")


def working_tree(root: Path) -> Clone:
    """The working tree as it stands, without the demo and its results, in a new repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = REPOSITORY / name
        if source.is_file() and not name.startswith(LEFT_OUT):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / name)
    clone = Clone(root)
    clone.run("git", "init", "-q")
    return clone
