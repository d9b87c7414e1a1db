"""A corpus out of a Hugging Face dataset that the `datasets` library has written."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from media_samples import noise, numbered_frames, tone, write_media

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.params import load_params
from pipeline.config.subsets import read_subset
from pipeline.media import dataset_rows
from pipeline.media.location import local, open_place
from stages.check import check
from stages.embed.command import embed
from stages.extract_audio.command import extract_audio
from stages.ingest import probing
from stages.ingest.command import ingest
from stages.ingest.init import init
from stages.report.command import read_problems

datasets = pytest.importorskip("datasets", exc_type=ImportError)
pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
parquet = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """The library's cache in a folder of the test, and no dataset that another test has opened."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    dataset_rows.open_dataset.cache_clear()
    dataset_rows._column.cache_clear()


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    for number, suffix in enumerate((".wav", ".flac", ".ogg")):
        write_media(folder / f"00{number}{suffix}", samples=tone(1, 16000, 300 + 90 * number), sample_rate=16000)
    write_media(folder / "003.mp4", samples=noise(1, 16000), sample_rate=16000, frames=numbered_frames(25))
    return folder


def sounds(media, **columns):
    """Three rows with an Audio column that holds the files' bytes."""
    paths = sorted(path for path in media.iterdir() if path.suffix != ".mp4")
    cells = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    rows = {"audio": cells, "caption": [f"tone {path.stem}" for path in paths], **columns}
    return datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())


def as_saved(whole):
    datasets.DatasetDict({"train": whole.select([0, 1]), "test": whole.select([2])}).save_to_disk("sounds")


def as_parquet(whole):
    Path("sounds/data").mkdir(parents=True)
    whole.select([0, 1]).to_parquet("sounds/data/train-00000-of-00001.parquet")
    whole.select([2]).to_parquet("sounds/data/test-00000-of-00001.parquet")
    Path("sounds/README.md").write_text("---\nlicense: cc0-1.0\n---\n# Sounds\n")


def start(source, **options):
    init(source, **{"name": "mine", "captions": None, "window": 10.0, "hop": None, "shots": False, **options})


def table(corpus, name):
    return schemas.read_table(layout.table(corpus, name), getattr(schemas, name.upper()))


def captions():
    pairs = table("mine", "pairs").join(table("mine", "captions"), "caption_id")
    return dict(pairs.select("clip_id", "text").iter_rows())


def reasons():
    return {row["path"]: row["reason"] for row in read_problems(layout.PROBLEMS, load_params())}


@pytest.mark.parametrize("write", [as_saved, as_parquet])
def test_the_rows_of_a_folder_are_those_of_a_dataset(project, media, write, capsys):
    shutil.copytree(media, "folder")
    start("folder", name="folder")
    for corpus_stage in (ingest, extract_audio):
        corpus_stage("folder")
    embed("folder", "audio-level", device="cpu")
    wanted = {path.name: path.read_bytes() for path in Path(".hearonce/audio").rglob("*.flac")}
    shutil.rmtree("folder")
    shutil.rmtree(".hearonce/audio")
    write(sounds(media))
    start("sounds")
    Path("folder").mkdir()
    check()
    ingest("mine")
    assert captions() == {
        "test/0.audio/002.ogg": "tone 002",
        "train/0.audio/000.wav": "tone 000",
        "train/1.audio/001.flac": "tone 001",
    }
    extract_audio("mine")
    made = {path.name: path.read_bytes() for path in Path(".hearonce/audio").rglob("*.flac")}
    assert len(made) == 3 and made.items() <= wanted.items()
    capsys.readouterr()
    embed("mine", "audio-level", device="cpu")
    assert re.search(r"3 found in cache, 0 computed", capsys.readouterr().out)
    assert set(load_params().subsets_of("mine")) == {"all", "train", "test"}
    assert read_subset("mine", "test") == {"test/0.audio/002.ogg"}


def test_an_unchanged_dataset_is_not_read_again(project, media, capsys, monkeypatch):
    as_saved(sounds(media))
    start("sounds")
    ingest("mine")
    before = table("mine", "media")
    monkeypatch.setattr(probing.Prober, "of_bytes", lambda *_: pytest.fail("a row was read"))
    ingest("mine")
    assert "2 splits (train 2, test 1), 0 read, 2 unchanged" in capsys.readouterr().out
    assert table("mine", "media").equals(before)


def test_videos_and_captions_of_other_columns(project, media):
    whole = datasets.Dataset.from_dict({"clip": [str(media / "003.mp4")], "said": [["one", "two", None]]})
    Path("sounds").mkdir()
    cells = [{"bytes": (media / "003.mp4").read_bytes(), "path": "003.mp4"}]
    whole = whole.remove_columns("clip").add_column("clip", cells).cast_column("clip", datasets.Video())
    whole.to_parquet("sounds/train.parquet")
    start("sounds")
    config = Path("configs/corpora/mine.yaml")
    config.write_text(config.read_text() + "caption_keys: [said]\n")
    ingest("mine")
    assert set(table("mine", "captions")["text"]) == {"one", "two"}
    assert table("mine", "media").select("path", "has_video").rows() == [("train/0.clip/003.mp4", True)]
    with local(open_place(Path("sounds")).source("train/0.clip/003.mp4")) as path:
        assert path.read_bytes() == (media / "003.mp4").read_bytes() and path.suffix == ".mp4"


def test_rows_without_bytes_and_rows_that_are_no_media_are_problems(project, media):
    outside = media / "001.flac"
    cells = [
        {"bytes": (media / "000.wav").read_bytes(), "path": "000.wav"},
        {"bytes": None, "path": None},
        {"bytes": None, "path": str(outside)},
        {"bytes": None, "path": "../up.flac"},
        {"bytes": b"no sound", "path": "x.wav"},
        {"bytes": None, "path": "inside.flac"},
        None,
    ]
    texts = ["a", "b", "c", "d", "e", None, "g"]
    Path("sounds").mkdir()
    sounds(media).to_parquet("sounds/train.parquet")  # the library embeds all files: other writers may not
    schema = parquet.read_schema("sounds/train.parquet")
    parquet.write_table(pyarrow.Table.from_pydict({"audio": cells, "caption": texts}, schema), "sounds/train.parquet")
    shutil.copyfile(outside, "up.flac")
    start("sounds")
    shutil.copyfile(outside, "sounds/inside.flac")
    ingest("mine", keep_going=True)
    assert set(table("mine", "media")["path"]) == {"train/0.audio/000.wav", "train/5.audio/inside.flac"}
    found = reasons()
    assert found["train/1.audio/1"] == "its row has neither bytes nor a path"
    assert found["train/2.audio/001.flac"].startswith(f"its row has no bytes and names {outside}, outside of the")
    assert found["train/3.audio/up.flac"].startswith("its row has no bytes and names ../up.flac, outside of")
    assert found["train/4.audio/x.wav"].startswith("not a media file")
    assert found["train/5.audio/inside.flac"].startswith("has no caption in `caption`")
    assert found["train/6.audio/6"] == "its row holds nothing in the media column"


def test_datasets_that_cannot_serve_are_refused_in_a_sentence(project, media, monkeypatch):
    whole = sounds(media)
    whole.remove_columns("audio").save_to_disk("texts")
    with pytest.raises(UserError, match=r"texts has no Audio or Video column: it has caption \(string\)"):
        start("texts")
    two = whole.add_column("more", [{"bytes": b"x", "path": "x"}] * 3).cast_column("more", datasets.Audio())
    two.save_to_disk("two")
    with pytest.raises(UserError, match=r"two has several media columns \(audio, more\): name one"):
        start("two")
    whole.save_to_disk("sounds")
    start("sounds")
    config = Path("configs/corpora/mine.yaml")
    plain = config.read_text()
    config.write_text(plain + "caption_keys: [captoin]\n")
    with pytest.raises(UserError, match="has no column 'captoin', as `caption_keys` says: did you mean 'caption'"):
        ingest("mine")
    config.write_text(plain + "media_column: sound\n")
    with pytest.raises(UserError, match="has no column 'sound', as `media_column` says"):
        ingest("mine")
    config.write_text(plain)
    Path("sounds/state.json").write_text("{")
    dataset_rows.open_dataset.cache_clear()
    with pytest.raises(UserError, match="The dataset sounds cannot be opened"):
        ingest("mine")
    with pytest.raises(UserError, match=r"The dataset hf://datasets/nobody/nothing@main cannot be opened"):
        start("hf://datasets/nobody/nothing@main", name="hub")
    with pytest.raises(UserError, match=r"a dataset of the hub is hf://datasets/OWNER/NAME"):
        start("hf://datasets/nothing", name="hub")
    assert not Path("configs/corpora/hub.media.csv").exists()
    monkeypatch.setitem(sys.modules, "datasets", None)
    dataset_rows.open_dataset.cache_clear()
    with pytest.raises(UserError, match="needs the package `datasets`: `uv sync --extra hf`"):
        ingest("mine")
