import os
import time
from pathlib import Path

import polars as pl
import pytest
import yaml
from media_samples import numbered_frames, tone, write_media

from cache.errors import UserError
from pipeline.config.corpus import load_corpus
from pipeline.config.experiments import experiments_of, load_experiment
from pipeline.config.params import load_params
from pipeline.media.location import MediaFolder
from stages.check import check
from stages.ingest.init import _find_captions, init

PARAMS = "# a remark that stays\ncorpora: {}\nembeddings: {}\nsubsets: {}\n"


@pytest.fixture
def videos(project):
    (project / "params.yaml").write_text(PARAMS)
    folder = project / "My Videos"
    folder.mkdir()
    write_media(folder / "dog.mp4", samples=tone(1, 16000), sample_rate=16000, frames=numbered_frames(25))
    write_media(folder / "cat.wav", samples=tone(1, 16000), sample_rate=16000)
    return folder


def start(folder, **options):
    init(folder, **{"name": None, "captions": None, "window": 10.0, "hop": None, "shots": False, **options})


def test_a_folder_becomes_a_corpus_with_experiments(videos, capsys):
    start(videos)
    params = load_params()
    assert params.corpora["my-videos"].media == videos
    names = {experiment.name for experiment in experiments_of("my-videos")}
    assert names == {"my-videos-audio", "my-videos-visual", "my-videos-both"}
    assert params.subsets_of("my-videos") == ["all"]
    check()
    assert {one.encoder for one in params.embeddings.values()} == {"yamnet-minilm", "efficientnet-minilm"}
    assert load_corpus("my-videos").captions_from == "filename"
    for name in ("my-videos-audio", "my-videos-visual", "my-videos-both"):
        assert load_experiment(name).corpus == "my-videos"
    assert "# a remark that stays" in Path("params.yaml").read_text()
    assert "2 media files, 2 captions from the file names" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "origin"),
    [
        ("captions.csv", "file,caption\ndog.mp4,a dog\n", "listing"),
        ("Captions.TSV", "file\tcaption\ndog.mp4\ta dog\n", "listing"),
        ("dog.srt", "00:00:00,000 --> 00:00:01,000\nwoof\n", "subtitles"),
        ("dog.txt", "a dog barks\n", "text"),
    ],
)
def test_captions_are_found(videos, name, text, origin):
    (videos / name).write_text(text)
    start(videos, name="mine")
    assert load_corpus("mine").captions_from == origin
    assert load_corpus("mine").audio.bits == 16


def test_a_large_folder_is_looked_through_once(videos):
    files = [Path(f"{number}.wav") for number in range(3000)]
    for file in files:
        (videos / file).touch()
    begun = time.thread_time()
    assert _find_captions(MediaFolder(videos), files, None) == ("filename", None)
    assert time.thread_time() - begun < 1  # it took 4 s, and 16 s for twice as many


def test_tables_that_are_not_read_are_said(videos, capsys):
    (videos / "captions.jsonl").write_text('{"file": "dog.mp4", "caption": "a dog"}\n')
    (videos / "clotho.csv").write_text("file_name,caption_1\ndog.mp4,a dog\n")
    start(videos)
    assert f"not read: clotho.csv (if captions are in it: init with --captions {videos}" in capsys.readouterr().out


def test_sound_alone_gets_no_visual_experiment(videos):
    (videos / "dog.mp4").unlink()
    start(videos)
    params = load_params()
    assert [experiment.name for experiment in experiments_of("my-videos")] == ["my-videos-audio"]
    assert params.encoders_of("my-videos") == {"yamnet-minilm"}


def test_a_second_time_is_refused_and_nothing_is_overwritten(videos):
    start(videos)
    before = yaml.safe_load(Path("params.yaml").read_text())
    with pytest.raises(UserError, match="There is a corpus 'my-videos' already"):
        start(videos)
    assert yaml.safe_load(Path("params.yaml").read_text()) == before


def test_files_that_dvc_may_not_read_are_kept_from_it(videos, monkeypatch, capsys):
    readable = os.access
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "cat [1].wav" and readable(path, mode))
    (videos / "cat.wav").rename(videos / "cat [1].wav")
    start(videos)
    assert Path(".dvcignore").read_text() == "/My Videos/cat \\[1\\].wav\n"
    assert "DVC would stop at 1 unreadable file, so .dvcignore" in capsys.readouterr().out


def test_mistakes_are_said(videos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no media file"):
        start(tmp_path / "empty")
    with pytest.raises(UserError, match="does not exist"):
        start(tmp_path / "none")
    with pytest.raises(UserError, match=r"captions\.xlsx: captions come as"):
        (videos / "captions.xlsx").touch()
        start(videos, captions=videos / "captions.xlsx")
    with pytest.raises(UserError, match="is no name for a corpus"):
        start(videos, name="Über Videos")


def test_rows_that_cannot_be_used_are_said_by_init_and_ingest_alike(videos, hearonce):
    (videos / "captions.jsonl").write_text(
        '{"file": "dog.mp4", "caption": "a party \\ud83c"}\n{"file": "cat.wav", "caption": "a cat"}\n{\n'
    )
    code, said, _ = hearonce("init", videos, "--name", "mine")
    assert code == 0 and "line 1: the text holds U+D83C" in said and "line 3: is no JSON object" in said
    code, _, errors = hearonce("ingest", "mine")
    assert code == 3, errors
    found = pl.read_parquet("data/problems/mine/ingest.parquet")["reason"].to_list()
    assert [reason.split(":")[0] for reason in found] == ["line 3", "line 1"]
    assert pl.read_parquet("data/tables/mine/captions.parquet")["text"].to_list() == ["a cat"]


def test_no_known_caption_column_is_said(videos, capsys):
    (videos / "captions.csv").write_text("file,remark\ndog.mp4,a dog\n")
    start(videos, name="mine")
    assert "no caption column is known in" in capsys.readouterr().out


def test_captions_that_are_no_file_are_said(videos):
    os.mkfifo(videos / "captions.csv")
    with pytest.raises(UserError, match=r"captions\.csv is a pipe: give a regular file"):
        start(videos, name="mine")
    with pytest.raises(UserError, match=r"captions\.csv is a pipe: give a regular file"):
        start(videos, name="mine", captions=videos / "captions.csv")


def test_a_hop_and_shots_are_written_into_the_config(videos):
    start(videos, name="plain")
    assert "hop_s" not in Path("configs/corpora/plain.yaml").read_text()
    assert "clips_from" not in Path("configs/corpora/plain.yaml").read_text()
    start(videos, name="hopping", window=4.0, hop=2.0)
    hopping = load_corpus("hopping")
    assert (hopping.clips_from, hopping.window_s, hopping.hop_s, hopping.min_window_s) == ("windows", 4.0, 2.0, 0.4)
    start(videos, name="cut", window=30.0, shots=True)
    cut = load_corpus("cut")
    assert (cut.clips_from, cut.window_s, cut.hop_s) == ("shots", 30.0, None)
    check()


def test_a_hop_longer_than_a_window_is_refused_and_nothing_written(videos):
    with pytest.raises(UserError, match="hop_s 5 is longer than window_s 4"):
        start(videos, name="mine", window=4.0, hop=5.0)
    assert not Path("configs/corpora/mine.yaml").exists()
    start(videos, name="mine", window=4.0, hop=4.0)
    Path("configs/corpora/mine.yaml").write_text("window_s: null\nhop_s: 2\n")
    with pytest.raises(UserError, match="hop_s is given and window_s is null"):
        check()
