"""Clones of the working tree with a small corpus of real videos, in which `dvc repro` runs for real."""

from __future__ import annotations

import shutil

import pytest
from clone import Clone, working_tree

from pipeline.config.params import Params

VIDEOS = ["dogs-barking", "car-horn", "applause", "explosion"]
PARAMS = """
corpora: {mine: {media: videos, annotations: captions.csv}}
embeddings:
  mine-audio:
    corpus: mine
    encoder: yamnet-minilm
    config: configs/encoders/yamnet-minilm.yaml
    reads: data/audio/mine.parquet
subsets: {mine-all: {corpus: mine, subset: all}, mine-animals: {corpus: mine, subset: animals}}
"""
PARAMS += "".join(f"{name}: {{}}\n" for name in Params.model_fields if f"\n{name}:" not in PARAMS)
EXPERIMENT = "encoders: [yamnet-minilm]\n"


@pytest.fixture(scope="session")
def first(tmp_path_factory) -> Clone:
    """The working tree as it stands, in a new repository, after a first `dvc repro`. Not to be changed."""
    root = tmp_path_factory.mktemp("clone") / "hearonce"
    clone = working_tree(root)
    (root / "videos").mkdir()
    (root / "configs/subsets/mine").mkdir()
    (root / "configs/experiments/mine").mkdir()
    clone.write("captions.csv", "file,caption\n")
    for name in VIDEOS:
        clone.add_video(name, name.replace("-", " "))
    clone.write("params.yaml", PARAMS)
    clone.write("configs/corpora/mine.yaml", "window_s: null\n")
    clone.write("configs/experiments/mine/mine-audio.yaml", EXPERIMENT)
    clone.write("configs/subsets/mine/all.yaml", "clips: all\n")
    clone.write("configs/subsets/mine/animals.yaml", "clips: [dogs-barking.mp4, car-horn.mp4]\n")
    return clone.repro()


@pytest.fixture
def clone(first, tmp_path) -> Clone:
    """A copy of the first run's tree, store and DVC cache, to change something in."""
    root = tmp_path / "hearonce"
    shutil.copytree(first.root, root, symlinks=True)
    return Clone(root)
