"""A real `dvc repro` on real videos in a temporary clone; what reruns and what does not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "configs/corpora/demo"
VIDEOS = ["dogs-barking", "car-horn", "applause", "explosion"]
EXTRA = "cat-meow"
PARAMS = """
corpora: {mine: {media: videos, annotations: captions.csv}}
embeddings:
  mine-audio: {corpus: mine, encoder: yamnet-minilm}
experiments:
  mine-audio: {corpus: mine, encoder: yamnet-minilm}
fusions: {}
"""
EXPERIMENT = "corpus: mine\nencoders: [yamnet-minilm]\nsubsets: [animals]\n"


class Clone:
    """A working tree with DVC, and what its last `dvc repro` did."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.output = ""

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("HEARONCE", "DVC"))}
        variables |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
            "HF_HUB_OFFLINE": "1",
            **environment,
        }
        done = subprocess.run(
            command,
            cwd=self.root,
            env=variables,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

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

    def add_caption(self, name: str, caption: str) -> None:
        with (self.root / "captions.csv").open("a") as file:
            file.write(f"{name}.mp4,{caption}\n")


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Clone:
    """The working tree as it stands, in a new repository, after a first `dvc repro`."""
    root = tmp_path_factory.mktemp("clone") / "hearonce"
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = REPOSITORY / name
        if source.is_file() and not name.startswith(("tests/", "configs/corpora/demo/", "dvc.lock")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / name)
    clone = Clone(root)
    (root / "videos").mkdir()
    (root / "configs/subsets/mine").mkdir()
    clone.write("captions.csv", "file,caption\n")
    for name in VIDEOS:
        shutil.copy(DEMO / f"media/{name}.mp4", root / "videos")
        clone.add_caption(name, name.replace("-", " "))
    clone.write("params.yaml", PARAMS)
    clone.write("configs/corpora/mine.yaml", "window_s: null\n")
    clone.write("configs/experiments/mine-audio.yaml", EXPERIMENT)
    clone.write("configs/subsets/mine/animals.txt", "dogs-barking.mp4\ncar-horn.mp4\n")
    clone.run("git", "init", "-q")
    return clone.repro()


@pytest.fixture
def clone(first, tmp_path) -> Clone:
    """A copy of the first run's tree, store and DVC cache, to change something in."""
    root = tmp_path / "hearonce"
    shutil.copytree(first.root, root, symlinks=True)
    return Clone(root)


def test_the_first_run_gives_metrics_above_chance_and_a_page(first):
    assert first.ran[0] == "ingest@mine" and first.ran[-1] == "report"
    assert first.computed("embed_clips") == 4
    assert first.computed("embed_captions") == 4
    assert first.metrics()["all"]["text_to_clip"]["R@1"] >= 75.0
    page = (first.root / "data/report/index.html").read_text()
    assert "mine-audio" in page and "<audio" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page), "the page needs the network"


def test_a_second_run_does_nothing(clone):
    assert clone.repro().ran == []
    assert "up to date" in clone.output


def test_an_added_video_is_the_only_one_processed(clone):
    shutil.copy(DEMO / f"media/{EXTRA}.mp4", clone.root / "videos")
    clone.add_caption(EXTRA, "a cat meows")
    clone.repro()
    assert clone.computed("extract_audio") == 1
    assert clone.computed("embed_clips") == 1
    assert clone.computed("embed_captions") == 1


def test_an_edited_caption_embeds_one_caption_and_no_clip(clone):
    text = (clone.root / "captions.csv").read_text()
    clone.write("captions.csv", text.replace("car horn", "a car honks"))
    clone.repro()
    assert clone.computed("embed_captions") == 1
    assert not any(stage.startswith(("embed_clips", "extract_audio")) for stage in clone.ran)


def test_a_renamed_video_embeds_nothing(clone):
    (clone.root / "videos/applause.mp4").rename(clone.root / "videos/clapping.mp4")
    text = (clone.root / "captions.csv").read_text()
    clone.write("captions.csv", text.replace("applause.mp4", "clapping.mp4"))
    clone.repro()
    assert clone.computed("extract_audio") == 0
    assert clone.computed("embed_clips") == 0


def test_one_changed_byte_embeds_the_clips_of_that_file(clone):
    with (clone.root / "videos/applause.mp4").open("ab") as file:
        file.write(b"\0")
    clone.repro()
    assert clone.computed("embed_clips") == 1


def test_a_new_subset_only_scores(clone):
    clone.write("configs/subsets/mine/loud.txt", "explosion.mp4\napplause.mp4\n")
    clone.write("configs/experiments/mine-audio.yaml", EXPERIMENT.replace("[animals]", "[animals, loud]"))
    clone.repro()
    assert clone.ran == ["score@mine-audio", "report"]
    assert set(clone.metrics()) == {"all", "animals", "loud"}


def test_a_comment_in_the_code_embeds_nothing_and_stops_there(clone):
    with (clone.root / "stages/embed/encoder.py").open("a") as file:
        file.write("# a remark\n")
    clone.repro()
    assert clone.computed("embed_clips") == 0
    assert clone.ran == ["embed_clips@mine-audio", "embed_captions@mine-audio"]


def test_bad_media_are_listed_and_the_run_goes_on(clone):
    for name, content in (("empty", b""), ("text", b"no video"), ("short", None)):
        path = clone.root / f"videos/{name}.mp4"
        path.write_bytes((DEMO / f"media/{EXTRA}.mp4").read_bytes()[:2000] if content is None else content)
        clone.add_caption(name, name)
    clone.repro()
    assert "ingest@mine" in clone.ran
    assert "embed_clips@mine-audio" not in clone.ran
    listed = clone.run("hearonce", "problems", check=False)
    assert listed.returncode == 3
    for name in ("empty.mp4", "text.mp4", "short.mp4"):
        assert name in listed.stdout
    assert "empty.mp4" in (clone.root / "data/report/index.html").read_text()
    strict = clone.run("hearonce", "ingest", "mine", "--strict", check=False)
    assert strict.returncode == 4
    assert "strict run" in strict.stdout
