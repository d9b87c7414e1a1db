"""What a `dvc repro` reruns and computes after each kind of change, and what it leaves alone."""

import re
from pathlib import Path

MEDIA = Path(__file__).parents[2] / "configs/corpora/demo/media"
EXTRA = "cat-meow"
SCORES = ["score@mine-all", "score@mine-animals"]


def test_the_first_run_gives_metrics_above_chance_and_a_page(first):
    assert first.ran[0] == "ingest@mine" and first.ran[-1] == "report"
    assert first.computed("embed clips") == 4
    assert first.computed("embed captions") == 4
    assert "the artifact in dvc.lock" not in first.output
    assert first.metrics()["text_to_clip"]["R@1"] >= 75.0
    page = (first.root / "data/report/index.html").read_text()
    assert "mine-audio" in page and "<audio" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page), "the page needs the network"


def test_a_caption_and_a_clip(clone):
    """A second run does nothing; an edited caption embeds one caption, an added video one clip."""
    assert clone.repro().ran == []
    assert "up to date" in clone.output
    text = (clone.root / "captions.csv").read_text()
    clone.write("captions.csv", text.replace("car horn", "a car honks"))
    clone.repro()
    assert clone.computed("embed captions") == 1
    assert clone.computed("embed clips") == 0 and "load" not in line(clone, "embed mine yamnet-minilm clips")
    assert not any(stage.startswith("extract_audio") for stage in clone.ran)
    clone.add_video(EXTRA, "a cat meows")
    clone.repro()
    assert clone.computed("extract_audio") == 1
    assert clone.computed("embed clips") == 1
    assert clone.computed("embed captions") == 1


def line(clone, start: str) -> str:
    """The line of the last output that begins so."""
    return next(one for one in clone.output.splitlines() if one.startswith(start) and " wanted" in one)


def test_media_are_known_by_their_bytes(clone):
    """A renamed video embeds nothing; one changed byte embeds the clips of that file."""
    (clone.root / "videos/applause.mp4").rename(clone.root / "videos/clapping.mp4")
    text = (clone.root / "captions.csv").read_text()
    clone.write("captions.csv", text.replace("applause.mp4", "clapping.mp4"))
    clone.repro()
    assert clone.computed("extract_audio") == 0
    assert clone.computed("embed clips") == 0
    with (clone.root / "videos/clapping.mp4").open("ab") as file:
        file.write(b"\0")
    clone.repro()
    assert clone.computed("embed clips") == 1


def test_a_subset_an_experiment_an_encoder_option_and_a_comment(clone):
    clone.write("configs/subsets/mine/loud.yaml", "where: text = 'explosion' or text = 'applause'\n")
    params = (clone.root / "params.yaml").read_text()
    clone.write("params.yaml", params.replace("subsets: {", "subsets: {mine-loud: {corpus: mine, subset: loud}, "))
    clone.repro()
    assert clone.ran == ["score@mine-loud", "report"]
    assert "loud" in (clone.root / "data/report/index.html").read_text()
    clone.write("configs/subsets/mine/loud.yaml", "clips: [explosion.mp4]\n")
    assert clone.repro().ran == ["score@mine-loud", "report"]

    clone.write("configs/experiments/mine/mine-csls.yaml", "encoders: [yamnet-minilm]\ntransform: csls\n")
    assert sorted(clone.repro().ran) == ["report", *SCORES, "score@mine-loud"]
    assert clone.metrics("mine-csls") and clone.metrics("mine-csls", subset="loud") is not None

    with (clone.root / "stages/embed/encoder.py").open("a") as file:
        file.write("# a comment\n")
    assert clone.repro().ran == ["embed@mine-audio"]
    assert clone.computed("embed clips") == clone.computed("embed captions") == 0

    config = clone.root / "configs/encoders/yamnet-minilm.yaml"
    config.write_text(config.read_text() + "# a comment\n")
    assert clone.repro().ran == []
    config.write_text(config.read_text().replace("top_k: 10", "top_k: 9"))
    clone.repro()
    assert clone.computed("embed clips") == 4 and clone.computed("embed captions") == 0
    assert set(clone.ran) == {"embed@mine-audio", *SCORES, "score@mine-loud", "report"}


def test_bad_media_are_listed_and_the_run_goes_on(clone):
    for name, content in (("empty", b""), ("text", b"no video"), ("short", None)):
        path = clone.root / f"videos/{name}.mp4"
        path.write_bytes((MEDIA / f"{EXTRA}.mp4").read_bytes()[:2000] if content is None else content)
        clone.add_caption(name, name)
    clone.repro()
    assert "ingest@mine" in clone.ran
    assert "embed@mine-audio" not in clone.ran or clone.computed("embed clips") == 0
    listed = clone.run("hearonce", "problems", check=False)
    assert listed.returncode == 3
    for name in ("empty.mp4", "text.mp4", "short.mp4"):
        assert name in listed.stdout
    assert "empty.mp4" in (clone.root / "data/report/index.html").read_text()
    strict = clone.run("hearonce", "ingest", "mine", "--strict", check=False)
    assert strict.returncode == 4
    assert "strict run" in strict.stdout
