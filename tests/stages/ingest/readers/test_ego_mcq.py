"""The reader `ego-mcq` on the miniature corpus."""

import json
import shutil
from pathlib import Path

import pytest
from miniature.build import PLACES
from miniature.ego import STEM, UIDS

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.config.records import CONFIGS, load
from stages.ingest.command import ingest
from stages.ingest.readers import ego_mcq


def read(folder, annotations=None, **options):
    shipped = load(CONFIGS / "corpora" / "ego-mcq.yaml", CorpusConfig)
    config = shipped.model_copy(update={"files": shipped.files.model_copy(update=options)})
    return ego_mcq.read(CorpusPlace(media=folder / "ego4d", annotations=annotations or folder / "egomcq"), config)


@pytest.fixture
def changed(miniature, tmp_path):
    """Annotations of one's own to change."""
    return Path(shutil.copytree(miniature / "egomcq", tmp_path / "egomcq"))


def questions(path):
    return json.loads(path.read_text())


def test_questions_clips_and_captions(miniature, project):
    found = read(miniature)
    texts = {one.caption_id: one.text for one in found.captions}
    clips = {clip.id for clip in found.clips}
    for source, variant in (("visual", ""), ("gpt", "_gpt")):
        published = questions(miniature / "egomcq" / f"{STEM}{variant}.json")
        asked = [one for one in found.questions if one.caption_id.startswith(source)]
        assert [one.question_id for one in asked] == list(published)
        for one, item in zip(asked, published.values(), strict=True):
            assert texts[one.caption_id] == item["query"]["clip_text"]
            assert (one.answer, one.type) == (item["answer"], {1: "inter", 2: "intra"}[item["types"]])
            named = [f"{m['video_uid']}@{m['clip_start']:g}-{m['clip_end']:g}" for m in item["choices"].values()]
            assert one.clip_ids == named and set(named) <= clips
            assert (named[one.answer], one.caption_id) in found.pairs
    assert len(clips) == len(found.clips) == 58  # in 300 choices
    assert len(texts) == len(found.captions) < len(found.questions)
    assert len(set(found.pairs)) == len(found.pairs)


def test_subsets_are_what_their_files_left(miniature, project):
    """The names of the files say which levels were taken out."""
    found = read(miniature)
    published = questions(miniature / "egomcq" / f"{STEM}.json")
    removed = {"low": "moderate_high", "moderate": "low_high", "high": "low_moderate"}
    numbers = []
    for subset, suffix in removed.items():
        part = questions(miniature / "egomcq" / f"{STEM}_{suffix}.json")
        mine = [id for name, kind, id in found.subsets if (name, kind) == (subset, "question")]
        assert [published[id] for id in mine] == list(part.values())
        numbers += mine
    assert sorted(numbers, key=int) == list(published)


def test_a_clip_over_the_end_of_a_piece_has_two_spans(miniature, project):
    here = {kind: miniature / part for kind, part in zip(("media", "annotations"), PLACES["ego-mcq"], strict=True)}
    text = "corpora:\n  ego-mcq: {media: %(media)s, annotations: %(annotations)s}\nembeddings: {}\nsubsets: {}\n"
    (project / "params.yaml").write_text(text % here)
    ingest("ego-mcq")
    spans = schemas.read_table(layout.table("ego-mcq", "spans"), schemas.SPANS)
    lengths = {}
    for (clip, modality), of_clip in spans.group_by("clip_id", "modality", maintain_order=True):
        start, stop = (float(time) for time in clip.split("@")[1].split("-"))
        lengths[clip, modality] = len(of_clip)
        crossing = start < 600 < stop
        assert [Path(path).stem for path in of_clip["media_path"]] == (
            ["0", "1"] if crossing else [str(int(stop // 600))]
        )
        assert (of_clip["stop_s"] - of_clip["start_s"]).sum() == pytest.approx(stop - start, abs=1e-3)
        if crossing:
            assert of_clip["stop_s"][0] == pytest.approx(600) and of_clip["start_s"][1] == 0
    assert sorted(lengths.values())[-2:] == [2, 2], "no clip goes on in a second piece"
    assert schemas.read_table(layout.problems("ego-mcq", "ingest"), schemas.PROBLEMS).is_empty()


def test_whole_videos_do_as_well(miniature, project, tmp_path):
    for uid in UIDS:
        path = tmp_path / "ego4d" / "ego4d" / f"{uid}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = read(tmp_path, miniature / "egomcq")
    assert found.faults == []
    for clip in found.clips:
        video, _, times = clip.id.partition("@")
        start, stop = (float(time) for time in times.split("-"))
        (sound,), (picture,) = clip.audio, clip.frames
        assert sound.media == picture.media == Path(f"ego4d/{video}.mp4")
        assert (sound.start_s, sound.duration_s) == (start, stop - start)
        assert (picture.start_s, picture.stop_s) == pytest.approx((start, stop))


def test_questions_that_cannot_be_used_are_faults_and_the_others_stay(miniature, project, changed):
    path = changed / f"{STEM}.json"
    data = questions(path)
    del data["0"]["choices"]["4"]
    data["1"]["answer"] = 7
    data["2"]["choices"]["0"]["clip_end"] = -1
    del data["3"]["types"]
    path.write_text(json.dumps(data))
    found = read(miniature, changed)
    reasons = {id: reason for id, _, reason in found.faults}
    assert reasons["0"] == "question 0: 4 choices, not 5"
    assert reasons["1"] == "question 1: answer 7 or type 2 is out of range"
    assert "does not stop after its start" in reasons["2"]
    assert reasons["3"] == "question 3 has no 'types'"
    assert len({one.question_id for one in found.questions}) == 56
    assert any("1 questions that the full file lacks" in one and "`name:" in one for one in found.notes)


def test_what_is_missing_or_different_is_said(miniature, project, changed):
    (changed / f"{STEM}_gpt.json").unlink()
    (changed / f"{STEM}_low_high.json").unlink()
    found = read(miniature, changed, published={"questions": 39751})
    assert {one.source for one in found.captions} == {"visual"}
    for part in ("no caption source `gpt`", "subset moderate is left out", "60 questions, published are 39751"):
        assert any(part in one for one in found.notes), part
    (changed / f"{STEM}.json").write_text("{")
    with pytest.raises(UserError, match="is no valid JSON"):
        read(miniature, changed)
    (changed / f"{STEM}.json").unlink()
    with pytest.raises(UserError, match=r"silence\.json is missing: get it from drive\.google\.com"):
        read(miniature, changed)
    with pytest.raises(UserError, match=r"files\.audio: '\{vidoe\}\.mp4' has \{vidoe\}, did you mean 'video'"):
        read(miniature, miniature / "egomcq", audio=["{vidoe}.mp4"])
