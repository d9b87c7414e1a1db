"""A whole `dvc repro` killed at random moments, its process group with it, until one ends: the outputs are the same."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

REPOSITORY = Path(__file__).parents[2]
PARAMS = """\
corpora: {mine: {media: videos, annotations: captions.csv}}
embeddings: {mine-yamnet: {corpus: mine, encoder: yamnet-minilm}}
experiments: {}
fusions: {}
"""
STAGES = """\
stages:
  ingest:
    cmd: hearonce ingest mine
    deps: [videos, captions.csv]
    outs: [data/tables/mine]
  extract_audio:
    cmd: hearonce extract-audio mine
    deps: [data/tables/mine]
    outs: [data/audio/mine.parquet]
  embed:
    cmd: hearonce embed mine yamnet-minilm
    deps: [data/audio/mine.parquet, data/tables/mine]
    outs: [data/embeddings/mine/yamnet-minilm]
"""


def campaign(folder: Path, n: int, seed: int) -> Counter[tuple[str, str]]:
    """Kills n times; each project is run to its end after its kill and compared with one that was never killed."""
    tally: Counter[tuple[str, str]] = Counter()
    dice = random.Random(seed)
    _project(folder / "pristine")
    shutil.copytree(folder / "pristine", folder / "never")
    begun = time.monotonic()
    said = _repro(folder / "never").communicate()[0]
    seconds, expected = time.monotonic() - begun, _outputs(folder / "never")
    assert expected, said
    for attempt in range(n):
        root = folder / f"killed{attempt}"
        shutil.copytree(folder / "pristine", root)
        run = _repro(root)
        time.sleep(dice.uniform(0.0, seconds))
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            tally["dvc repro", "kills"] += 1
        run.communicate()
        again = _repro(root)
        said = again.communicate()[0]
        if again.returncode == 0 and "Traceback" not in said and _outputs(root) == expected:
            tally["dvc repro", "same outputs"] += 1
        else:
            tally["dvc repro", "wrong"] += 1
            print(said[-3000:])
        shutil.rmtree(root)
    return tally


def _project(root: Path) -> None:
    shutil.copytree(REPOSITORY / "configs", root / "configs", ignore=shutil.ignore_patterns("media"))
    (root / "videos").mkdir()
    lines = ["file,caption"]
    for i in range(8):
        wave = np.sin(np.arange(64_000) * 2 * np.pi * (200 + 50 * i) / 16_000) * np.linspace(0, 0.5, 64_000)
        soundfile.write(root / f"videos/tone{i}.wav", wave.astype(np.float32), 16_000)
        lines.append(f"tone{i}.wav,tone number {i}")
    (root / "captions.csv").write_text("\n".join(lines) + "\n")
    (root / "params.yaml").write_text(PARAMS)
    (root / "configs/corpora/mine.yaml").write_text("window_s: null\n")
    (root / "dvc.yaml").write_text(STAGES)
    subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=root, check=True, env=_variables())


def _variables() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}


def _repro(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["dvc", "repro"],
        cwd=root,
        env=_variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _outputs(root: Path) -> dict[str, str]:
    folders = (root / "data/embeddings", root / "data/tables", root / "data/audio")
    files = sorted(one for folder in folders for one in folder.rglob("*") if one.is_file())
    return {str(one.relative_to(root)): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}
