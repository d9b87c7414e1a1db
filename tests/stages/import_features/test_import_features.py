"""From the files that AVLnet's authors publish to tables and feature caches, by the commands."""

import os
import pickle

import avlnet_files
import numpy as np
import pytest
import torch

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.params import extend_params
from pipeline.config.subsets import read_subset
from stages.check import check
from stages.extract_audio.command import extract_audio
from stages.import_features.command import import_features
from stages.ingest.command import ingest

SOUND, FLAT, MOVING = "avlnet-spectrogram", "resnet152", "resnext101-3d"


@pytest.fixture
def official(project, tmp_path):
    """Makes a corpus of params.yaml of files that a function writes; gives these by name."""

    def make(corpus, build):
        folder = tmp_path / "official" / corpus
        files = build(folder)
        (project / "params.yaml").write_text(
            f"corpora:\n  {corpus}: {{media: configs/corpora/{corpus}.yaml, annotations: {folder}}}\n"
            f"embeddings: {{}}\nsubsets: {{}}\nimports:\n  {corpus}: {{corpus: {corpus}, annotations: {folder}}}\n"
        )
        extend_params({})
        return folder, files

    return make


def table(corpus, name):
    return schemas.read_table(layout.table(corpus, name), getattr(schemas, name.upper()))


def artifacts(corpus):
    return [open_artifact(layout.embeddings(corpus, encoder, "clips")) for encoder in (SOUND, FLAT, MOVING)]


def check_rows(corpus, clips, flat="2d", moving="3d"):
    sound, flats, movings = artifacts(corpus)
    for artifact in (sound, flats, movings):
        assert artifact.ids == [clip["id"] for clip in clips]
        assert not artifact.verify()
    for row, clip in enumerate(clips):
        np.testing.assert_array_equal(sound.row(row), clip["audio"].numpy().T)
        np.testing.assert_array_equal(flats.row(row), clip[flat][None])
        np.testing.assert_array_equal(movings.row(row), clip[moving][None])


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_youcook2_with_its_subsets(official, protocol):
    _, files = official("youcook2", lambda folder: avlnet_files.youcook(folder, protocol))
    check()
    ingest("youcook2")
    extract_audio("youcook2")
    import_features("youcook2")
    clips = files["youcook_train_audio.pkl"] + files["youcook_val_audio.pkl"]
    check_rows("youcook2", clips)
    assert [one.format.dtype for one in artifacts("youcook2")] == ["float32", "float16", "float16"]
    placed = table("youcook2", "clips")
    assert placed["clip_id"].to_list() == [clip["id"] for clip in clips]
    assert placed.row(5, named=True) == {
        **{"clip_id": "yc5", "media_id": "v2", "media_path": "", "media_digest": ""},
        **{"start_s": 5.0, "stop_s": 9.5},
    }
    texts = table("youcook2", "pairs").join(table("youcook2", "captions"), on="caption_id")
    assert texts.select("clip_id", "text", "source").rows() == [(c["id"], c["caption"], "given") for c in clips]
    for subset, name in (("train", "train_audio"), ("val", "val_audio"), ("sounds-241", "val_sounds241")):
        assert read_subset("youcook2", subset) == {clip["id"] for clip in files[f"youcook_{name}.pkl"]}
    assert read_subset("youcook2", "speech-241") == {"yc5"}


def test_the_same_files_give_the_same_bytes(official):
    official("youcook2", avlnet_files.youcook)
    found = []
    for _ in range(2):
        import_features("youcook2")
        files = sorted(path for path in layout.DATA.rglob("*") if path.is_file())
        found.append([path.read_bytes() for path in files])
    assert found[0] == found[1]


def test_msrvtt_splits_that_overlap_and_the_captions_it_is_scored_on(official):
    _, files = official("msrvtt", avlnet_files.msrvtt)
    ingest("msrvtt")
    import_features("msrvtt")
    clips = files["msrvtt_1k-A_train.pkl"] + files["msrvtt_jsfusion_test.pkl"]
    check_rows("msrvtt", clips, "2d_pooled", "3d_pooled")
    assert [one.format.dtype for one in artifacts("msrvtt")] == ["float32"] * 3
    assert len(read_subset("msrvtt", "train-7k")) == 3 and len(read_subset("msrvtt", "train-1k-a")) == 5
    assert read_subset("msrvtt", "test") == {"video5", "video6"}
    texts = table("msrvtt", "pairs").join(table("msrvtt", "captions"), on="caption_id")
    assert texts.filter(clip_id="video1", source="given")["text"].to_list() == [
        "1 is seen",
        "a video of 1",
        "1 is seen",
    ]
    assert texts.filter(clip_id="video6", source="given")["text"].to_list() == [
        "6 is seen",
        "a video of 6",
        "6 is seen",
    ]
    assert texts.filter(source="eval")["text"].to_list() == ["a video of 5", "a video of 6"]


def test_youcook_japanese_and_its_list_of_videos(official, capsys):
    folder, files = official("youcook-japanese", avlnet_files.japanese)
    ingest("youcook-japanese")
    assert "1 videos are not in" in capsys.readouterr().out
    import_features("youcook-japanese")
    check_rows("youcook-japanese", [clip for clips in files.values() for clip in clips])
    (folder / "youcook_japanese_v1.json").write_text("{")
    with pytest.raises(UserError, match=r"youcook_japanese_v1\.json cannot be read as JSON"):
        ingest("youcook-japanese")


def test_crosstask_without_captions_and_a_split_that_is_not_there(official, capsys):
    one = avlnet_files.clip(0, "ct", task=2, start=1, end=3, video_id="v")
    official("crosstask", lambda folder: avlnet_files.write(folder, {"crosstask_clips_val.pkl": [one, one]}))
    ingest("crosstask")
    import_features("crosstask")
    printed = capsys.readouterr().out
    assert printed.count("subset train is left out") == 2
    assert table("crosstask", "clips")["clip_id"].to_list() == artifacts("crosstask")[0].ids == ["ct0", "ct0#2"]
    assert table("crosstask", "captions").is_empty()


def test_clips_without_or_with_unusable_features_are_problems(official):
    def build(folder):
        clips = [avlnet_files.clip(n) for n in range(5)]
        del clips[0]["2d"]
        clips[1]["3d"] = np.full(2048, np.nan, np.float32)
        clips[2]["audio"] = torch.zeros(40, 0)
        clips[3]["audio"] = None
        avlnet_files.write(folder, {"crosstask_clips_train.pkl": clips})

    official("crosstask", build)
    with pytest.raises(SystemExit):
        import_features("crosstask")
    sound, flat, moving = artifacts("crosstask")
    assert (sound.ids, flat.ids, moving.ids) == (
        ["yc0", "yc1", "yc4"],
        ["yc1", "yc2", "yc3", "yc4"],
        ["yc0", "yc2", "yc3", "yc4"],
    )
    problems = schemas.read_table(layout.problems("crosstask", "import_features"), schemas.PROBLEMS)
    assert problems.sort("id")["reason"].to_list() == [
        "has no resnet152",
        "has resnext101-3d that are not finite",
        "has avlnet-spectrogram that are empty",
        "has no avlnet-spectrogram",
    ]
    assert problems["path"].str.contains(r"crosstask_clips_train\.pkl item \d$").all()


class Harmful:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "made-by-a-pickle"),)


@pytest.mark.parametrize("command", [ingest, import_features])
def test_harmful_damaged_and_strange_files_are_refused_with_a_sentence(official, tmp_path, command):
    folder, _ = official("crosstask", lambda folder: avlnet_files.write(folder, {}) or {})
    path = folder / "crosstask_clips_val.pkl"
    with pytest.raises(
        UserError, match=r"has none of crosstask_clips_train\.pkl, crosstask_clips_val\.pkl: get AVLnet"
    ):
        command("crosstask")
    one = avlnet_files.clip(0)
    for content, reason in (
        (
            pickle.dumps([one, {**one, "audio": Harmful(tmp_path)}]),
            r"names posix\.mkdir, which is not read\): fetch it again",
        ),
        (
            pickle.dumps([one])[:-5000],
            r"crosstask_clips_val\.pkl cannot be read after item 0 \(.*\): fetch it again from AVLnet",
        ),
        (pickle.dumps([{"2d": one["2d"]}]), r"crosstask_clips_val\.pkl item 0 is no dict with an `id`"),
        (pickle.dumps({"a": one, "b": one}), r"item 0 is no dict with an `id`"),
        (
            pickle.dumps([{**one, "2d": np.zeros(7, "f4")}]),
            r"item 0 has resnet152 of shape \(7,\) \(float32\), expected",
        ),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            command("crosstask")
    assert not (tmp_path / "made-by-a-pickle").exists()
    assert not layout.embeddings("crosstask", SOUND, "clips").exists()


def test_params_that_watch_another_folder_than_is_read(official, project):
    official("youcook2", avlnet_files.youcook)
    params = project / "params.yaml"
    params.write_text(
        params.read_text().replace("corpus: youcook2, annotations: ", "corpus: youcook2, annotations: /other")
    )
    with pytest.raises(UserError, match=r"params\.yaml has imports\.youcook2 at /other.*: make them agree"):
        import_features("youcook2")


def test_a_corpus_of_media_has_nothing_to_import(project):
    (project / "params.yaml").write_text(
        "corpora: {demo: {media: configs, annotations: configs}}\nembeddings: {}\nsubsets: {}\n"
    )
    with pytest.raises(UserError, match=r"'demo' has no published features \(its reader is 'folder'"):
        import_features("demo")


def test_items_that_cannot_be_used_are_problems_and_the_others_are_imported(official):
    """One item of a file is not the file: what is wrong with it is said, once, and the rest is there."""
    folder, _ = official("crosstask", lambda folder: folder.mkdir(parents=True, exist_ok=True) or {})
    path = folder / "crosstask_clips_val.pkl"
    good = [avlnet_files.clip(number) for number in range(3)]
    wrong_shape, wrong_audio = avlnet_files.clip(4), avlnet_files.clip(5)
    wrong_shape["2d"], wrong_audio["audio"] = np.zeros(7, "f4"), np.zeros((3, 4), "f4")
    path.write_bytes(pickle.dumps([good[0], {"2d": good[0]["2d"]}, "text", wrong_shape, good[1], wrong_audio, good[2]]))
    ingest("crosstask", keep_going=True)
    import_features("crosstask", keep_going=True)
    kept = {"yc0", "yc1", "yc2", "yc5"}
    assert kept <= set(table("crosstask", "clips")["clip_id"]) and "yc4" not in set(
        table("crosstask", "clips")["clip_id"]
    )
    for stage, more in (("ingest", 0), ("import_features", 1)):
        reasons = schemas.read_table(layout.problems("crosstask", stage), schemas.PROBLEMS)["reason"].to_list()
        assert len(reasons) == 3 + more
        assert sum("is no dict with an `id`" in one for one in reasons) == 2
        assert sum("item 3 has resnet152 of shape (7,)" in one for one in reasons) == 1
        assert sum("item 5 has avlnet-spectrogram of shape" in one for one in reasons) == more


@pytest.mark.parametrize("command", [ingest, import_features])
def test_a_pickle_of_another_corpus_under_the_right_name_is_refused(official, command):
    folder, _ = official("youcook2", avlnet_files.youcook)
    other = folder.parent / "other"
    avlnet_files.msrvtt(other)
    for name in ("msrvtt_train.pkl", "msrvtt_jsfusion_test.pkl"):
        (folder / "youcook_train_audio.pkl").write_bytes((other / name).read_bytes())
        with pytest.raises(
            UserError, match=r"youcook_train_audio\.pkl item 0 is of MSR-VTT .*put the corpus's own file"
        ):
            command("youcook2")
    folder, _ = official("msrvtt", avlnet_files.msrvtt)
    avlnet_files.youcook(other)
    (folder / "msrvtt_train.pkl").write_bytes((other / "youcook_val_audio.pkl").read_bytes())
    with pytest.raises(UserError, match=r"msrvtt_train\.pkl item 0 is of YouCook2 or a corpus like it"):
        command("msrvtt")


def test_several_captions_of_a_clip_are_no_sign_of_another_corpus(official):
    folder, _ = official("crosstask", lambda folder: folder.mkdir(parents=True, exist_ok=True) or {})
    clips = [avlnet_files.clip(number, caption=[f"cut {number}", f"stir {number}"]) for number in range(2)]
    (folder / "crosstask_clips_val.pkl").write_bytes(pickle.dumps(clips))
    ingest("crosstask")
    assert table("crosstask", "captions")["text"].to_list() == ["cut 0", "stir 0", "cut 1", "stir 1"]


def test_a_caption_that_is_no_text_is_a_problem_and_one_that_is_not_there_is_none(official):
    folder, _ = official("crosstask", lambda folder: folder.mkdir(parents=True, exist_ok=True) or {})
    captions = [b"cut", float("nan"), None, 7, {"en": "cut"}]
    clips = [avlnet_files.clip(number, caption=caption) for number, caption in enumerate(captions)]
    (folder / "crosstask_clips_val.pkl").write_bytes(pickle.dumps(clips))
    ingest("crosstask", keep_going=True)
    assert table("crosstask", "clips")["clip_id"].to_list() == ["yc1", "yc2", "yc3"]
    assert table("crosstask", "captions")["text"].to_list() == ["7"]
    reasons = schemas.read_table(layout.problems("crosstask", "ingest"), schemas.PROBLEMS)["reason"].to_list()
    assert sum("neither text nor a number as 'caption'" in one for one in reasons) == 2
