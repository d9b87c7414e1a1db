"""Rows that others have computed: a fresh clone after `dvc pull`, a shared store, a reverted change."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cache.artifact import open_artifact


def colleague(clone, root: Path):
    """A fresh `git clone` of what the first person has committed and pushed."""
    remote = clone.root.parent / "remote"
    clone.run("dvc", "remote", "add", "-q", "-d", "-f", "team", str(remote))
    clone.run("dvc", "push", "-q")
    clone.run("git", "add", "-A")
    clone.run("git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", "first")
    subprocess.run(["git", "clone", "-q", str(clone.root), str(root)], check=True)
    return type(clone)(root)


@pytest.mark.parametrize("pulled", [True, False])
def test_a_fresh_clone_embeds_only_the_new_video(clone, tmp_path, pulled):
    fresh = colleague(clone, tmp_path / "fresh")
    assert not (fresh.root / ".hearonce").exists()
    if pulled:
        fresh.run("dvc", "pull", "-q")
    fresh.add_video("cat-meow", "dogs barking")
    fresh.repro()
    assert fresh.computed("extract_audio") == fresh.computed("embed clips") == 1
    assert "4 media as in dvc.lock" in fresh.output
    assert len(list((fresh.root / ".hearonce/audio").rglob("*.flac"))) <= 5  # those that the report plays
    assert fresh.computed("embed captions") == 0
    assert "4 rows from the artifact in dvc.lock" in fresh.output


def test_rows_of_another_encoder_are_not_taken(clone, tmp_path):
    fresh = colleague(clone, tmp_path / "fresh")
    config = fresh.root / "configs/encoders/yamnet-minilm.yaml"
    config.write_text(config.read_text().replace("top_k: 10", "top_k: 9"))
    fresh.repro()
    assert fresh.computed("embed clips") == 4


@pytest.mark.slow
def test_two_clones_share_a_store_at_once(clone, tmp_path):
    store = tmp_path / "shared store"
    store.mkdir()
    clones = []
    for name, extra in (("one", "cat-meow"), ("two", "crow")):
        root = tmp_path / name
        shutil.copytree(clone.root, root, symlinks=True)
        for private in (".hearonce", ".dvc/cache", "data", "dvc.lock"):
            path = root / private
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        clones.append(type(clone)(root))
        clones[-1].add_video(extra, "an animal")
    runs = [one.start("dvc", "repro", HEARONCE_STORE=str(store)) for one in clones]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert not (clones[0].root / ".hearonce/rows").exists()

    for one, extra in zip(clones, ("crow", "cat-meow"), strict=True):
        one.add_video(extra, "an animal")
        one.repro(HEARONCE_STORE=str(store))
        assert one.computed("embed clips") == 0, one.output
        assert one.computed("extract_audio") == 0
    one, two = (open_artifact(one.root / "data/embeddings/mine/yamnet-minilm/clips.zarr") for one in clones)
    assert sorted(one.ids) == sorted(two.ids)
    np.testing.assert_array_equal(one.numpy()[np.argsort(one.ids)], two.numpy()[np.argsort(two.ids)])


def test_a_reverted_change_comes_back_from_the_run_cache(clone):
    text = (clone.root / "captions.csv").read_text()
    clone.write("captions.csv", text.replace("car horn", "a car honks"))
    clone.repro()
    clone.write("captions.csv", text)
    clone.repro()
    assert clone.ran == []
    assert "is cached - skipping run, checking out outputs" in clone.output


@pytest.mark.parametrize(
    "link",
    [
        pytest.param("hardlink", marks=pytest.mark.slow),
        "symlink",
        pytest.param("reflink,copy", marks=pytest.mark.slow),
    ],
)
def test_linked_outputs_leave_the_cache_of_dvc_intact(clone, link):
    clone.run("dvc", "config", "cache.type", link)
    clone.run("dvc", "checkout", "--relink", "-q")
    (clone.root / "videos/applause.mp4").rename(clone.root / "videos/clapping.mp4")
    text = (clone.root / "captions.csv").read_text()
    clone.write("captions.csv", text.replace("applause.mp4", "clapping.mp4"))
    clone.repro()
    assert clone.computed("embed clips") == 0
    objects = [path for path in (clone.root / ".dvc/cache/files/md5").glob("??/*") if path.is_file()]
    assert len(objects) > 20
    for path in objects:
        name = (path.parent.name + path.name).removesuffix(".dir")
        assert hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == name, path
