"""What a `dvc repro` reruns and computes after each kind of change, and what it leaves alone."""

import re
from pathlib import Path

MEDIA = Path(__file__).parents[2] / "configs/corpora/demo/media"
EXTRA = "cat-meow"


def test_the_first_run_gives_metrics_above_chance_and_a_page(first):
    assert first.ran[0] == "ingest@mine" and first.ran[-1] == "report"
    assert first.computed("embed_clips") == 4
    assert first.computed("embed_captions") == 4
    assert "the artifact in dvc.lock" not in first.output
    assert first.metrics()["text_to_clip"]["R@1"] >= 75.0
    page = (first.root / "data/report/index.html").read_text()
    assert "mine-audio" in page and "<audio" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page), "the page needs the network"


def test_a_second_run_does_nothing(clone):
    assert clone.repro().ran == []
    assert "up to date" in clone.output


def test_an_added_video_is_the_only_one_processed(clone):
    clone.add_video(EXTRA, "a cat meows")
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


def test_a_new_subset_reruns_its_own_score_stage_only(clone):
    clone.write("configs/subsets/mine/loud.yaml", "where: text = 'explosion' or text = 'applause'\n")
    params = (clone.root / "params.yaml").read_text()
    clone.write("params.yaml", params.replace("subsets: {", "subsets: {mine-loud: {corpus: mine, subset: loud}, "))
    clone.repro()
    assert clone.ran == ["score_subset@mine-loud", "report"]
    assert "loud" in (clone.root / "data/report/index.html").read_text()
    clone.write("configs/subsets/mine/loud.yaml", "clips: [explosion.mp4]\n")
    assert clone.repro().ran == ["score_subset@mine-loud", "report"]


def test_a_comment_in_the_code_embeds_nothing_and_stops_there(clone):
    with (clone.root / "stages/embed/encoder.py").open("a") as file:
        file.write("# a remark\n")
    clone.repro()
    assert clone.computed("embed_clips") == 0
    assert clone.ran == ["embed_clips@mine-audio", "embed_captions@mine-audio"]


def test_bad_media_are_listed_and_the_run_goes_on(clone):
    for name, content in (("empty", b""), ("text", b"no video"), ("short", None)):
        path = clone.root / f"videos/{name}.mp4"
        path.write_bytes((MEDIA / f"{EXTRA}.mp4").read_bytes()[:2000] if content is None else content)
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
