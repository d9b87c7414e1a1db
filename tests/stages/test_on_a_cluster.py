"""The commands themselves on a cluster: the same tables and artifacts, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dask_processes import processes_in
from media_samples import tone, write_media

from pipeline.config import layout
from pipeline.monitor.problems import StrictStop
from stages.embed.command import embed
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.ingest.init import init


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    with processes_in(tmp_path_factory.mktemp("dask")) as processes:
        _, file = processes.scheduler()
        processes.worker(file)
        yield file


@pytest.fixture
def corpus(project):
    videos = project / "videos"
    videos.mkdir()
    for number in range(3):
        rate = 16000 + 8000 * number
        write_media(videos / f"{number}.wav", samples=tone(2.0 + number, rate), sample_rate=rate)
    (videos / "bad.wav").write_bytes(write_media(project / "whole.wav", samples=tone(3.0, 16000)).read_bytes()[:60])
    init(Path("videos"), name="mine", captions=None, window=1.0)
    ingest("mine", keep_going=True)
    return project


def outputs() -> dict[str, bytes]:
    """All files that the stages have written, but for what was ingested."""
    folders = [
        layout.embeddings("mine", "features/avlnet-spectrogram", "clips"),
        layout.problems("mine", "extract_audio").parent,
    ]
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): path.read_bytes() for path in [layout.audio("mine"), *files]}


def test_sound_is_extracted_and_embedded_on_workers_as_here(corpus, scheduler, monkeypatch, capsys):
    options = {"kind": "address", "scheduler_file": str(scheduler), "patience_s": 60}
    (corpus / "configs/clusters/there.yaml").write_text(json.dumps(options))
    made = []
    for name, cluster in (("here", None), ("there", "there")):
        (corpus / name).mkdir()
        monkeypatch.setenv("HEARONCE_STORE", str(corpus / name))
        extract_audio("mine", keep_going=True, cluster=cluster)
        embed("mine", "features/avlnet-spectrogram", keep_going=True, device="cpu", cluster=cluster)
        made.append(outputs())
        sounds = {path.name: path.read_bytes() for path in (corpus / name / "audio").rglob("*.flac")}
        made[-1] |= sounds
    assert made[0] == made[1] and len(made[0]) > 5
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(";")[0] for line in said[-4:-2]] == [line.partition(";")[0] for line in said[-2:]]
    assert "3 computed" in said[-2]
    (corpus / "strict").mkdir()
    monkeypatch.setenv("HEARONCE_STORE", str(corpus / "strict"))
    (corpus / "videos/1.wav").unlink()
    with pytest.raises(StrictStop, match=r"extract_audio: 1\.wav: .*\(strict run\)"):
        extract_audio("mine", strict=True, cluster="there")
