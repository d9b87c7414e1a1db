"""The readers `epic-mir` and `epic-sounds` on the miniature corpora."""

import csv
import pickle
import shutil

import numpy as np
import polars as pl
import pytest
from miniature.build import PLACES

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.config.records import CONFIGS as CONFIG_FOLDER
from pipeline.config.records import load
from stages.ingest.command import READERS, ingest
from stages.ingest.readers import epic

MAIN, SENTENCES = "EPIC_100_retrieval_test.csv", "EPIC_100_retrieval_test_sentence.csv"
MATRIX = "relevancy/caption_relevancy_EPIC_100_retrieval_test.pkl"


def place(folder, corpus):
    media, annotations = PLACES[corpus]
    return CorpusPlace(media=folder / media, annotations=folder / annotations)


def config(corpus, **options):
    shipped = load(CONFIG_FOLDER / "corpora" / f"{corpus}.yaml", CorpusConfig)
    videos = [path for path in shipped.files.frames if "rgb_frames" not in path]
    return shipped.model_copy(update={"files": shipped.files.model_copy(update={"frames": videos, **options})})


def read(folder, corpus="epic-mir", **options):
    return READERS[corpus](place(folder, corpus), config(corpus, **options))


@pytest.fixture
def changed(miniature, tmp_path):
    """Annotations of one's own to change; the media are those of the miniature."""
    shutil.copytree(miniature / "retrieval_annotations", tmp_path / "retrieval_annotations")
    (tmp_path / "epic").symlink_to(miniature / "epic")
    return tmp_path


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def dense(annotations, clip_ids, caption_ids):
    values = dict(((clip, one), value) for clip, one, value in annotations.relevancy.iter_rows())
    return np.array([[values.get((clip, one), 0.0) for one in caption_ids] for clip in clip_ids])


@pytest.mark.parametrize(
    ("corpus", "split", "stem", "sentences", "matrix"),
    [
        ("epic-mir", "test", "EPIC_100_retrieval_test", "EPIC_100_retrieval_test_sentence", "caption"),
        *(
            (
                "epic-sounds",
                split,
                f"EPIC_Sounds_{split}_epicmirstyle_mainclasses",
                f"EPIC_Sounds_{split}_epicmirstyle_sentence_mainclasses",
                "verb",
            )
            for split in ("test", "val")
        ),
    ],
)
@pytest.mark.parametrize("source", ["visual", "gpt"])
def test_the_matrices_of_the_original_can_be_built_anew(
    miniature, project, corpus, split, stem, sentences, matrix, source
):
    """Clips and unique sentences, which clip each sentence stands for, every clip's own text, and the relevancy."""
    folder = miniature / "retrieval_annotations"
    variant = "_gpt" if source == "gpt" else ""
    clips = rows(folder / f"{stem}{variant}.csv")
    unique = rows(folder / f"{sentences}{variant}.csv")
    relevancy = pickle.loads((folder / "relevancy" / f"{matrix}_relevancy_{stem}.pkl").read_bytes())
    indexes = [[row[0] for row in clips].index(id) for id, _ in unique]
    found = read(miniature, corpus, split=split)

    assert [clip.id for clip in found.clips] == [row[0] for row in clips]
    captions = [one for one in found.captions if one.source == source]
    columns = captions[: len(unique)]
    assert [one.text for one in columns] == [clips[index][8] for index in indexes]
    texts = {one.caption_id: one.text for one in captions}
    own = [texts[caption] for _, caption in found.pairs if caption in texts]
    assert own == [row[8] for row in clips]
    ids = [clip.id for clip in found.clips]
    assert [clip for clip, caption in found.pairs if caption in texts] == ids
    np.testing.assert_array_equal(dense(found, ids, [one.caption_id for one in columns]), relevancy)
    assert found.relevancy.filter(pl.col("caption_id").is_in(list(texts))).height == (relevancy > 0).sum()


def test_built_relevancy_is_that_of_the_file(miniature, project):
    from_file, built = read(miniature), read(miniature, relevancy="built")
    assert built.relevancy.equals(from_file.relevancy)
    sounds = read(miniature, "epic-sounds"), read(miniature, "epic-sounds", relevancy="built")
    assert sounds[0].relevancy.equals(sounds[1].relevancy)
    assert read(miniature, relevancy="none").relevancy.is_empty()


def test_subsets_name_clips_and_captions_of_the_full_set(miniature, project):
    found = read(miniature)
    texts = {one.caption_id: one.text for one in found.captions}
    for name in ("low", "moderate", "high"):
        for source, variant in (("visual", ""), ("gpt", "_gpt")):
            stem = f"_gptfiltered_{name}{variant}.csv"
            clips = rows(miniature / "retrieval_annotations" / f"EPIC_100_retrieval_test{stem}")
            members = [(kind, id) for subset, kind, id in found.subsets if subset == name]
            assert [id for kind, id in members if kind == "clip"] == [row[0] for row in clips]
            of_source = {texts[id] for kind, id in members if kind == "caption" and id.startswith(source)}
            assert of_source == {row[8] for row in clips}
    assert not any("subset" in remark for remark in found.notes)


def test_a_subset_with_a_relevancy_of_its_own_is_said_and_how_to_use_it(changed, project):
    folder = changed / "retrieval_annotations" / "relevancy"
    path = folder / "caption_relevancy_EPIC_100_retrieval_test_gptfiltered_high.pkl"
    matrix = pickle.loads(path.read_bytes())
    matrix[0, :2] = 0.125, 0.375
    path.write_bytes(pickle.dumps(matrix))
    notes = read(changed).notes
    assert sum("2 of its relevancies differ" in one for one in notes) == 2  # visual and gpt
    assert any("subset high" in one and "`suffix: _gptfiltered_high`" in one for one in notes)
    alone = read(changed, suffix="_gptfiltered_high", subsets={})
    assert {0.125, 0.375} <= set(alone.relevancy["relevancy"])


def test_a_sentence_to_which_nothing_is_relevant_stays_a_query(changed, project):
    folder = changed / "retrieval_annotations"
    matrix = pickle.loads((folder / MATRIX).read_bytes())
    matrix[:, 4] = 0
    (folder / MATRIX).write_bytes(pickle.dumps(matrix))
    found = read(changed, subsets={})
    for source, variant in (("visual", ""), ("gpt", "_gpt")):
        named = rows(folder / SENTENCES.replace(".csv", f"{variant}.csv"))[4][0]
        texts = {row[0]: row[8] for row in rows(folder / MAIN.replace(".csv", f"{variant}.csv"))}
        cells = found.relevancy.filter(pl.col("caption_id") == f"{source}:{named}")
        assert cells["clip_id"].to_list() == [clip for clip, text in texts.items() if text == texts[named]]
        assert set(cells["relevancy"]) == {0.0}


def test_of_sentences_with_one_text_a_clip_has_the_most_relevant(changed, project):
    """The published sentence file has such, and some that are not the text of the clip they name."""
    folder = changed / "retrieval_annotations"
    first, again = "P01_01_0", "P02_01_58"  # the same clip of the demo
    with (folder / SENTENCES).open("a") as file:
        file.write(f"{again},a text of another clip\n")
    matrix = pickle.loads((folder / MATRIX).read_bytes())
    column = np.zeros((len(matrix), 1))
    column[58] = 1.0
    matrix[58, 0] = 0.5
    (folder / MATRIX).write_bytes(pickle.dumps(np.hstack([matrix, column])))
    for path in folder.glob("*_gpt.csv"):
        path.unlink()
    found = read(changed, subsets={})
    texts = {one.caption_id: one.text for one in found.captions}
    assert texts[f"visual:{first}"] == texts[f"visual:{again}"] == "factory whistle"
    assert (first, f"visual:{first}") in found.pairs and (again, f"visual:{again}") in found.pairs
    assert any(one.startswith("1 sentences of EPIC_100_retrieval_test_sentence.csv are not") for one in found.notes)


def test_the_train_split(changed, project):
    folder = changed / "retrieval_annotations"
    for stem in ("EPIC_100_retrieval_test", "EPIC_100_retrieval_test_sentence"):
        shutil.copy(folder / f"{stem}.csv", folder / f"{stem.replace('test', 'train')}.csv")
    found = read(changed, split="train", relevancy="none", subsets={})
    assert len(found.pairs) == len(found.clips) == 68
    with pytest.raises(UserError, match=r"caption_relevancy_EPIC_100_retrieval_train\.pkl is missing"):
        read(changed, split="train", subsets={})


def add_to_params(project, place):
    text = f"corpora:\n  epic-mir: {{media: {place.media}, annotations: {place.annotations}}}\n"
    (project / "params.yaml").write_text(text + "embeddings: {}\nsubsets: {}\n")


def test_a_run_without_media_says_where_it_looked(miniature, project, tmp_path):
    add_to_params(project, CorpusPlace(media=tmp_path, annotations=miniature / "retrieval_annotations"))
    with pytest.raises(UserError, match=r"no usable clip .* no audio of any video: .* has no audio/\{participant\}/"):
        ingest("epic-mir")


def test_the_tables_of_a_run(miniature, project):
    here = place(miniature, "epic-mir")
    add_to_params(project, here)
    yaml = project / "configs/corpora/epic-mir.yaml"
    yaml.write_text("".join(line for line in yaml.open() if "rgb_frames" not in line))
    ingest("epic-mir")
    spans = schemas.read_table(layout.table("epic-mir", "spans"), schemas.SPANS)
    clips = rows(here.annotations / "EPIC_100_retrieval_test.csv")
    audio, frames = (spans.filter(modality=kind).to_dicts() for kind in ("sound", "picture"))
    assert [one["media_path"] for one in audio] == [f"audio/{row[1]}/{row[2]}.flac" for row in clips]
    assert [one["media_path"] for one in frames] == [f"EPIC-KITCHENS/{row[1]}/videos/{row[2]}.MP4" for row in clips]
    assert [(one["start_frame"], one["stop_frame"]) for one in frames] == [(int(row[6]), int(row[7])) for row in clips]
    assert all(0 <= one["stop_s"] - other["stop_s"] < 1e-4 for one, other in zip(frames, audio, strict=True))
    assert len(schemas.read_table(layout.table("epic-mir", "clips"), schemas.CLIPS)) == len(clips)
    assert len(schemas.read_table(layout.table("epic-mir", "pairs"), schemas.PAIRS)) == 2 * len(clips)
    assert schemas.read_table(layout.problems("epic-mir", "ingest"), schemas.PROBLEMS).is_empty()


def test_margins_widen_the_audio_alone(miniature, project):
    plain, wide = read(miniature).clips, read(miniature, left_sec=1.0, right_sec=2.0).clips
    assert [clip.frames for clip in wide] == [clip.frames for clip in plain]
    first, second = (clip.audio[0] for clip in wide[:2])
    assert plain[0].audio[0].start_s == first.start_s == 0.0  # there is no second before it
    assert first.duration_s == plain[0].audio[0].duration_s + 2
    assert second.start_s == plain[1].audio[0].start_s - 1
    assert second.duration_s == pytest.approx(plain[1].audio[0].duration_s + 3)


def test_other_layouts_and_videos_that_are_not_there(miniature, project, tmp_path):
    videos = tmp_path / "P01" / "videos"
    videos.mkdir(parents=True)
    shutil.copy(miniature / "epic/EPIC-KITCHENS/P01/videos/P01_01.MP4", videos)
    found = epic.read_mir(
        CorpusPlace(media=tmp_path, annotations=miniature / "retrieval_annotations"), config("epic-mir")
    )
    assert (
        found.clips[0].audio[0].media == found.clips[0].frames[0].media == (videos / "P01_01.MP4").relative_to(tmp_path)
    )
    assert {(id, reason.split(":")[0]) for id, _, reason in found.faults} == {
        (video, f"no {kind}") for video in ("P01_02", "P02_01") for kind in ("audio", "frames")
    }
    shutil.rmtree(tmp_path / "P01")
    none = epic.read_mir(
        CorpusPlace(media=tmp_path, annotations=miniature / "retrieval_annotations"), config("epic-mir")
    )
    assert none.faults == [] and sum("of any video" in one for one in none.notes) == 2


def test_another_number_than_the_published_one_is_noted(miniature, project):
    notes = read(miniature).notes
    assert any("gives 68 clips, published are 9668" in one for one in notes)
    assert any("gives 58 captions, published are 3842" in one for one in notes)
    assert read(miniature, published={"clips": 68}).notes == []


def test_without_descriptions_there_is_one_source(changed, project):
    for path in changed.glob("retrieval_annotations/*_gpt.csv"):
        path.unlink()
    found = read(changed)
    assert {one.source for one in found.captions} == {"visual"}
    assert any("no caption source `gpt`" in one and "drive.google.com" in one for one in found.notes)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (MAIN, None, f"{MAIN} is missing: get it from github.com/epic-kitchens"),
        (SENTENCES, None, f"{SENTENCES} is missing"),
        (MATRIX, None, "is missing: get it from .*, or set `relevancy: built`"),
        (MATRIX, lambda data: pickle.dumps(np.eye(3)), r"shape \(3, 3\), the csv files have 68 clips and 58 sentences"),
        (MATRIX, lambda data: pickle.dumps(pickle.loads(data) * 2), "values outside 0 to 1"),
        (MATRIX, lambda data: b"<html>", "no pickled numpy array of numbers"),
        (MAIN, lambda data: data.replace(b"00:00:02.90", b"later"), "row 3: 'later' is no time"),
        (MAIN, lambda data: data.replace(b",30,62,", b",x,62,"), "row 3: columns 7 and 8 are no frame numbers"),
        (
            MAIN,
            lambda data: data.replace(b"start_timestamp", b"start"),
            "no columns start_timestamp and stop_timestamp",
        ),
        (MAIN, lambda data: data + b"P09_01_0,P09\n", "fewer than 9 columns in row 70"),
        (MAIN, lambda data: b"", "has no rows"),
        (SENTENCES, lambda data: data + b"P99_01_5,fly\n", "has a sentence of P99_01_5, which .* lacks"),
        ("EPIC_100_retrieval_test_gpt.csv", lambda data: data.replace(b"P01_01_1,", b"P01_01_9,"), "order must agree"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(changed, project, name, change, message):
    path = changed / "retrieval_annotations" / name
    data = path.read_bytes()
    path.unlink()
    if change is not None:
        assert change(data) != data
        path.write_bytes(change(data))
    with pytest.raises(UserError, match=message):
        read(changed)


def test_relevancy_that_no_machine_holds_is_refused(changed, project, monkeypatch):
    monkeypatch.setattr("stages.ingest.retrieval_files.MOST_CELLS", 100)
    with pytest.raises(UserError, match="set `relevancy: none`"):
        read(changed)


def test_keys_of_older_versions_say_their_new_names(project):
    path = CONFIG_FOLDER / "corpora" / "epic-mir.yaml"
    path.write_text(path.read_text().replace("  frames:", "  picture:"))
    with pytest.raises(UserError, match=r"epic-mir\.yaml: files: `picture` is renamed to `frames`: run `hearonce mig"):
        load(path, CorpusConfig)
