"""Levels of made audio whose levels are known, and the subsets that come of them."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.subsets import read_subset
from stages.embed.command import embed
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.label.command import dbfs, label, label_levels, level_counts

PARAMS = "corpora: {{own: {{media: {media}, annotations: {media}/captions.csv}}}}\nembeddings: {{}}\nsubsets: {{}}\n"
CAPTIONS = """file,caption,start,stop
loud.wav,a tone,0,1
loud.wav,then silence,1,2
soft.flac,barely,,
left.wav,on one side,,
full.wav,as loud as can be,,
"""


def sine(seconds: float, rate: int, amplitude: float) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * 1000 * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def own(project, tmp_path):
    """Clips of known levels, at several sample rates, in mono and stereo."""
    media = tmp_path / "media"
    media.mkdir()
    soundfile.write(media / "loud.wav", np.concatenate([sine(1, 48_000, 0.1), np.zeros(48_000)]), 48_000)
    soundfile.write(media / "soft.flac", sine(1, 44_100, 0.001), 44_100, subtype="PCM_24")
    soundfile.write(media / "left.wav", np.stack([sine(1, 8_000, 0.2), np.zeros(8_000)], 1), 8_000)
    soundfile.write(media / "full.wav", sine(1, 16_000, 1.0), 16_000)
    (media / "captions.csv").write_text(CAPTIONS)
    (project / "configs/corpora/own.yaml").write_text("window_s: null\naudio: {bits: 24}\n")
    (project / "params.yaml").write_text(PARAMS.format(media=media))
    (project / "configs/subsets/own").mkdir(parents=True)
    for name in ("audible", "silent"):
        (project / f"configs/subsets/own/{name}.yaml").write_text(f"annotated: {name}\n")
    ingest("own")
    extract_audio("own")
    return project


def measured(project, threshold: str) -> dict[str, tuple[float, float, str]]:
    text = Path("params.yaml").read_text()
    if "labels:" not in text:
        Path("params.yaml").write_text(text + "labels: {own: {corpus: own, label: levels, encoder: audio-level}}\n")
    (project / "configs/corpora/own.yaml").write_text(f"window_s: null\naudio: {{bits: 24}}\nsilence: {threshold}\n")
    embed("own", "audio-level")
    label("own", "levels")
    table = schemas.read_table(layout.table("own", "levels"), schemas.LEVELS)
    return {row[0]: row[1:] for row in table.iter_rows()}


def test_levels_are_those_of_the_audio_and_the_threshold_divides_the_clips(own, capsys):
    with pytest.raises(
        UserError,
        match=r"has no subset 'silent' \(add `own-levels: \{corpus: own, label: levels, encoder: audio-level\}`",
    ):
        read_subset("own", "silent")
    with pytest.raises(UserError, match=r"no labels `levels` of 'own': add `own-levels: \{corpus: own, label: levels"):
        label("own", "levels")
    found = measured(own, "{below_dbfs: -60}")
    clips = {one.partition("@")[0] if "loud" not in one else one: value for one, value in found.items()}
    loud, silence = sorted(one for one in clips if "loud" in one)
    wanted = {loud: 0.1, silence: 0.0, "soft.flac": 0.001, "left.wav": 0.1, "full.wav": 1.0}
    assert clips.keys() == wanted.keys()
    for name, amplitude in wanted.items():
        peak, rms, subset = clips[name]
        assert peak == pytest.approx(dbfs(np.array(amplitude)), abs=0.03), name
        assert rms == pytest.approx(dbfs(np.array(amplitude / np.sqrt(2))), abs=0.03), name
        assert subset == ("silent" if amplitude < 0.01 else "audible")
    assert clips[silence][:2] == (-np.inf, -np.inf)
    assert len(read_subset("own", "silent")) == 2 and len(read_subset("own", "audible")) == 3
    assert "3 audible, 2 silent (rms below -60 dBFS)" in capsys.readouterr().out
    assert json.loads(layout.label_counts("own", "levels").read_text()) == {
        "clips": 5,
        "audible": 3,
        "silent": 2,
        "without_audio": 0,
        "threshold_dbfs": -60.0,
    }
    measured(own, "{measure: peak, below_dbfs: -61}")  # the soft clip peaks at -60
    assert len(read_subset("own", "silent")) == 1
    said = capsys.readouterr().out
    assert ", 0 computed" in said.splitlines()[0]  # another threshold measures nothing again
    measured(own, "{below_dbfs: 0}")
    with pytest.raises(UserError, match="no subset 'audible' \\(no clip has been labelled so"):
        read_subset("own", "audible")


def test_what_is_exactly_at_the_threshold_is_audible():
    levels = np.array([[0.5, 0.1], [0.5, 0.0999], [0.0, 0.0]], np.float64)
    assert label_levels(["a", "b", "c"], levels, "rms", -20.0)["subset"].to_list() == ["audible", "silent", "silent"]
    assert label_levels(["a", "b", "c"], levels, "peak", -20.0)["subset"].to_list() == ["audible", "audible", "silent"]


def test_clips_without_audio_are_counted_as_such():
    table = label_levels(["a", "b"], np.array([[0.5, 0.1], [0.0, 0.0]]), "rms", -60.0)
    asked = pl.DataFrame({"question_id": ["0", "1"], "clip_ids": [["a", "b"], ["c", "b"]], "answer": [0, 0]})
    wanted = {"clips": 5, "audible": 1, "silent": 1, "without_audio": 3, "questions": 2, "audible_questions": 1}
    assert level_counts(table, 5, asked) == wanted


def test_questions_fall_out_with_their_right_clip(miniature, project, capsys):
    """The full EgoMCQ in miniature, with the audio of one video."""
    annotations = Path("annotations")
    annotations.mkdir()
    (source,) = (miniature / "egomcq").glob("*_silence.json")
    (annotations / "egomcq.json").write_bytes(source.read_bytes())
    media = Path("media")
    media.mkdir()
    for one in sorted((miniature / "ego4d/ego4d_chunked_audio").iterdir())[:1]:
        (media / "ego4d_chunked_audio").mkdir()
        (media / "ego4d_chunked_audio" / one.name).symlink_to(one)
    Path("params.yaml").write_text(
        "corpora: {egomcq: {media: media, annotations: annotations}}\nembeddings: {}\nsubsets: {}\n"
        "labels: {egomcq: {corpus: egomcq, label: levels, encoder: audio-level}}\n"
    )
    ingest("egomcq", keep_going=True)
    said = capsys.readouterr().out
    assert "gpt" not in said and "39751" in said.replace(",", "")
    extract_audio("egomcq", keep_going=True)
    embed("egomcq", "audio-level", keep_going=True)
    label("egomcq", "levels")
    found = json.loads(layout.label_counts("egomcq", "levels").read_text())
    assert found["audible"] + found["silent"] + found["without_audio"] == found["clips"]
    questions = schemas.read_table(layout.table("egomcq", "questions"), schemas.QUESTIONS)
    audible = read_subset("egomcq", "audible")
    right = [clips[answer] in audible for clips, answer in questions.select("clip_ids", "answer").iter_rows()]
    assert (found["questions"], found["audible_questions"]) == (len(right), sum(right))
    assert 0 < sum(right) < len(right)
