"""Clones of the working tree with a small corpus of real videos, in which `dvc repro` runs for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import Params

REPOSITORY = Path(__file__).parents[2]
MEDIA = REPOSITORY / "configs/corpora/demo/media"
VIDEOS = ["dogs-barking", "car-horn", "applause", "explosion"]
PARAMS = """
corpora: {mine: {media: videos, annotations: captions.csv}}
embeddings:
  mine-audio: {corpus: mine, encoder: yamnet-minilm}
experiments:
  mine-audio: {corpus: mine, encoder: yamnet-minilm}
subsets: {mine-animals: {corpus: mine, subset: animals}}
"""
PARAMS += "".join(f"{name}: {{}}\n" for name in Params.model_fields if f"\n{name}:" not in PARAMS)
EXPERIMENT = "corpus: mine\nencoders: [yamnet-minilm]\n"


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

    def computed(self, stage: str) -> int:
        match = re.search(rf"^{stage} mine.*? (\d+) computed", self.output, flags=re.M)
        assert match, f"{stage} did not run:\n{self.output}"
        return int(match[1])

    def metrics(self) -> dict:
        return json.loads((self.root / "data/results/mine-audio/metrics.json").read_text())

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)

    def add_video(self, name: str, caption: str) -> None:
        shutil.copy(MEDIA / f"{name}.mp4", self.root / "videos")
        self.add_caption(name, caption)

    def add_caption(self, name: str, caption: str) -> None:
        with (self.root / "captions.csv").open("a") as file:
            file.write(f"{name}.mp4,{caption}\n")


@pytest.fixture(scope="session")
def first(tmp_path_factory) -> Clone:
    """The working tree as it stands, in a new repository, after a first `dvc repro`. Not to be changed."""
    root = tmp_path_factory.mktemp("clone") / "hearonce"
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = REPOSITORY / name
        if source.is_file() and not name.startswith(("tests/", "docs/", "configs/corpora/demo/", "dvc.lock")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / name)
    clone = Clone(root)
    (root / "videos").mkdir()
    (root / "configs/subsets/mine").mkdir()
    (root / "configs/experiments/mine").mkdir()
    clone.write("captions.csv", "file,caption\n")
    for name in VIDEOS:
        clone.add_video(name, name.replace("-", " "))
    clone.write("params.yaml", PARAMS)
    clone.write("configs/corpora/mine.yaml", "window_s: null\n")
    clone.write("configs/experiments/mine/mine-audio.yaml", EXPERIMENT)
    clone.write("configs/subsets/mine/animals.yaml", "clips: [dogs-barking.mp4, car-horn.mp4]\n")
    clone.run("git", "init", "-q")
    return clone.repro()


@pytest.fixture
def clone(first, tmp_path) -> Clone:
    """A copy of the first run's tree, store and DVC cache, to change something in."""
    root = tmp_path / "hearonce"
    shutil.copytree(first.root, root, symlinks=True)
    return Clone(root)
