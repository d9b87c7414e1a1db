"""A folder of bad media goes through all stages: nothing stops, everything is said."""

from pathlib import Path

import pytest
from bad_media import make_bad_media

from cache import tables
from cache.artifact import open_artifact
from pipeline.config import layout
from pipeline.config.params import load_params
from pipeline.monitor.problems import StrictStop
from stages.embed.command import embed
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.ingest.init import init
from stages.report.command import read_problems


@pytest.fixture
def expected(project):
    kinds = make_bad_media(project / "videos")
    init(Path("videos"), name="mine", captions=None, window=10.0)
    return kinds


def test_each_kind_of_bad_media_is_said_once_and_the_rest_is_embedded(expected):
    ingest("mine", keep_going=True)
    extract_audio("mine", keep_going=True)
    for encoder in ("yamnet-minilm", "efficientnet-minilm"):
        embed("mine", encoder, keep_going=True, device="cpu")
    found = {row["path"]: (row["reason"], row["stage"]) for row in read_problems(layout.PROBLEMS, load_params())}
    wanted = {name: kind for name, kind in expected.items() if kind[1] is not None}
    assert set(found) == set(wanted)
    for name, (reason, stage) in wanted.items():
        assert found[name][1] == stage, (name, found[name])
        assert reason in found[name][0], (name, found[name])

    ingested = {name for name, (_, stage) in expected.items() if stage != "ingest"}
    heard = open_artifact(layout.embeddings("mine", "yamnet-minilm", "clips")).ids
    assert set(heard) == ingested - {"no_sound_track.mp4"}
    seen = open_artifact(layout.embeddings("mine", "efficientnet-minilm", "clips")).ids
    without_picture = {name for name in ingested if expected[name][1] == "embed"} | {"truncated.wav"}
    assert set(seen) == ingested - without_picture
    one_sample = tables.read_table(layout.audio("mine"), tables.AUDIO).filter(media_id="one_sample.wav")
    assert one_sample["n_samples"].to_list() == [1]


def test_the_exit_code_says_that_there_were_problems(expected):
    with pytest.raises(SystemExit) as left:
        ingest("mine")
    assert left.value.code == 3
    with pytest.raises(SystemExit) as left:
        extract_audio("mine")
    assert left.value.code == 3


def test_strict_runs_stop(expected):
    with pytest.raises(StrictStop, match=r"empty\.mp4: empty file"):
        ingest("mine", strict=True)
    ingest("mine", keep_going=True)
    with pytest.raises(StrictStop, match="strict run"):
        extract_audio("mine", strict=True)
