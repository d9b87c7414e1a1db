"""Features of a corpus in the layouts of AVLnet's authors, read back by our own importers."""

import io
import json
import pickle
import re
from pathlib import Path

import avlnet_files
import numpy as np
import pytest
import torch

from cache.artifact import open_artifact
from pipeline.config import layout
from pipeline.formats.avlnet_pickles import FEATURES, ClipPickles
from stages.import_features.command import import_features
from stages.ingest.command import ingest
from stages.train.howto100m import read_paths


@pytest.fixture
def imported(project):
    """YouCook2 and MSR-VTT as published, imported."""
    avlnet_files.youcook(Path("youcook"))
    avlnet_files.msrvtt(Path("msrvtt"))
    Path("params.yaml").write_text(
        "embeddings: {}\nsubsets: {}\ncorpora:\n"
        "  youcook2: {media: configs/corpora/youcook2.yaml, annotations: youcook}\n"
        "  msrvtt: {media: configs/corpora/msrvtt.yaml, annotations: msrvtt}\n"
    )
    for corpus in ("youcook2", "msrvtt"):
        ingest(corpus)
        import_features(corpus)
    return project


def rows(corpus):
    found = {}
    for encoder in FEATURES:
        artifact = open_artifact(layout.embeddings(corpus, encoder, "clips"))
        found[encoder] = {one: artifact.row(i).tolist() for i, one in enumerate(artifact.ids)}
    return found


@pytest.mark.parametrize(
    ("corpus", "subsets"),
    [
        ("youcook2", {"train": "youcook_train_audio.pkl", "val": "youcook_val_audio.pkl"}),
        ("msrvtt", {"train-1k-a": "msrvtt_1k-A_train.pkl", "test": "msrvtt_jsfusion_test.pkl"}),
    ],
)
def test_a_pickle_is_imported_again_to_the_same_features_captions_and_times(imported, hearonce, corpus, subsets):
    folder = Path("again")
    folder.mkdir()
    for subset, name in subsets.items():
        code, _, err = hearonce("cache", "export", corpus, folder / name, "--format", corpus, "--subset", subset)
        assert code == 0, err
    before = {name: Path(f"data/tables/{corpus}/{name}.parquet").read_bytes() for name in ("captions", "pairs")}
    features = rows(corpus)
    params = Path("params.yaml")
    params.write_text(params.read_text().replace(f"annotations: {corpus.removesuffix('2')}", "annotations: again"))
    ingest(corpus)
    import_features(corpus)
    assert rows(corpus) == features
    assert before == {name: Path(f"data/tables/{corpus}/{name}.parquet").read_bytes() for name in before}


def test_an_item_is_what_the_loaders_of_the_authors_read(imported, hearonce):
    """By pickle itself, as they do."""
    hearonce("cache", "export", "youcook2", "y.pkl", "--format", "youcook2", "--subset", "val")
    published = pickle.loads(Path("youcook/youcook_val_audio.pkl").read_bytes())
    made = pickle.loads(Path("y.pkl").read_bytes())
    assert len(made) == len(published)
    for one, other in zip(made, published, strict=True):
        assert isinstance(one["audio"], torch.Tensor) and torch.equal(one["audio"], other["audio"])
        for key in ("2d", "3d"):
            assert one[key].dtype == np.float32 and np.array_equal(one[key], other[key])
        assert {key: one[key] for key in ("id", "caption", "start", "end", "video_id")} == {
            key: other[key] for key in ("id", "caption", "start", "end", "video_id")
        }
    hearonce("cache", "export", "msrvtt", "m.pkl", "--format", "msrvtt", "--subset", "test")
    published = pickle.loads(Path("msrvtt/msrvtt_jsfusion_test.pkl").read_bytes())
    for one, other in zip(pickle.loads(Path("m.pkl").read_bytes()), published, strict=True):
        assert one["eval_caption"] == other["eval_caption"] and set(one["caption"]) == set(other["caption"])
        assert np.array_equal(one["2d_pooled"], other["2d_pooled"]) and one["2d"].shape[1] == 2048
    assert [clip.id for _, clip, _ in ClipPickles({"test": Path("m.pkl")})] == [one["id"] for one in published]


def test_files_of_whole_videos_are_read_by_our_reader_of_howto100m(imported, hearonce):
    code, out, _ = hearonce("cache", "export", "youcook2", "files", "--format", "howto100m", "--json")
    assert code == 0 and json.loads(out)[0]["clips"] == 9
    paths = read_paths(Path("files/videopaths.txt"))
    assert paths == [f"yc{n}" for n in range(9)]
    for path in paths:
        spectrogram = np.load(f"files/{path}/{path}_spec.npz")["arr_0"]
        assert spectrogram.dtype == np.float16 and spectrogram.shape[0] == 40
        assert np.load(f"files/{path}/{path}_2d.npz")["features"].shape == (1, 2048)
        assert np.load(f"files/{path}/{path}_3d.npz")["features"].dtype == np.float16


def test_clips_without_a_feature_are_left_out_and_counted(imported, hearonce):
    items = pickle.loads(Path("youcook/youcook_val_audio.pkl").read_bytes())
    items[0]["3d"] = None
    buffer = io.BytesIO()
    pickle.dump(items, buffer, 3)
    Path("youcook/youcook_val_audio.pkl").write_bytes(buffer.getvalue())
    for name in ("sounds241", "speech241"):
        Path(f"youcook/youcook_val_{name}.pkl").unlink()
    ingest("youcook2", keep_going=True)
    import_features("youcook2", keep_going=True)
    _, out, _ = hearonce("cache", "export", "youcook2", "y.pkl", "--format", "youcook2")
    assert "1 clip left out: a feature of each is missing" in out
    assert len(pickle.loads(Path("y.pkl").read_bytes())) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("youcook3", "a.pkl", "--format", "youcook2"), "No corpus 'youcook3' in params.yaml: did you mean 'youcook2'"),
        (("youcook2", "params.yaml", "--format", "youcook2"), "params.yaml exists already"),
        (("youcook2", "a.pkl", "--format", "youcok2"), "a.pkl was not written: no format 'youcok2', .*'youcook2'"),
        (("youcook2", "a.pkl", "--format", "youcook2", "--captions", "gpt"), "has no caption of source 'gpt'"),
        (("youcook2", "a.pkl", "--format", "youcook2", "--features", "resnet152"), "names 1 encoders, not three"),
        (("youcook2", "a.pkl", "--format", "youcook2", "--subset", "vall"), "No subset 'vall' .*did you mean 'val'"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(imported, hearonce, arguments, message):
    code, _, err = hearonce("cache", "export", *arguments)
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert re.search(message, err)
    assert not Path("a.pkl").exists()
