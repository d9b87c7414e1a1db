"""A project that commit 49b48f7 has made, without its store: no row is computed anew, and the artifacts are equal."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from clone import working_tree

from pipeline.config.records import read_yaml

OLD_MEDIA = Path(__file__).with_name("media_49b48f7")
"""Media of the demo as they were then, with drawings of the audio."""

RECORDED = Path(__file__).with_name("project_49b48f7.tar.gz")
"""Its own files, `dvc.lock`, and the artifacts of its stages `embed_clips` and `embed_captions` in DVC's cache."""


@pytest.fixture
def earlier(tmp_path):
    clone = working_tree(tmp_path / "hearonce")
    with tarfile.open(RECORDED) as archive:
        archive.extractall(clone.root, filter="data")
    (clone.root / "videos").mkdir()
    for name in ("dogs-barking", "car-horn"):
        shutil.copy(OLD_MEDIA / f"{name}.mp4", clone.root / "videos")
    return clone


def recorded(root: Path) -> dict[str, str]:
    """MD5 of each file of the recorded artifacts, by its path in the project."""
    found = {}
    for stage in read_yaml(root / "dvc.lock")["stages"].values():
        for out in stage["outs"]:
            if out["path"].startswith("data/embeddings/"):
                folder = root / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
                found |= {f"{out['path']}/{one['relpath']}": one["md5"] for one in json.loads(folder.read_text())}
    return found


def test_it_is_migrated_and_nothing_is_computed_anew(earlier):
    refused = earlier.run("hearonce", "check", check=False)
    assert refused.returncode == 2 and "run `hearonce migrate`" in refused.stdout
    artifacts = recorded(earlier.root)
    assert {Path(path).parts[4] for path in artifacts} == {"clips.zarr", "captions.zarr"}
    earlier.run("hearonce", "migrate")
    assert "all fits together" in earlier.run("hearonce", "check").stdout
    assert "# Written for the last version." in (earlier.root / "params.yaml").read_text()
    earlier.repro()
    assert earlier.computed("embed clips") == earlier.computed("embed captions") == 0
    assert earlier.output.count("2 rows from the artifact in dvc.lock") == 2
    folder = earlier.root / "data/embeddings/mine/yamnet-minilm"
    made = {path.relative_to(earlier.root).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert made == set(artifacts)
    listed = {one["md5"] for one in new_files(earlier.root)}
    assert listed == set(artifacts.values())
    assert set(earlier.metrics()) == {"text_to_clip", "clip_to_text"}


def new_files(root: Path) -> list[dict[str, str]]:
    """The files of the artifacts as the stage `embed` of this version has them."""
    (out,) = [
        one for one in read_yaml(root / "dvc.lock")["stages"]["embed@mine-audio"]["outs"] if "embeddings" in one["path"]
    ]
    return json.loads((root / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]).read_text())
