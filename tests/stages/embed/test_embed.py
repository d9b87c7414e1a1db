"""`hearonce embed`: clips and captions in one process; a tower is loaded, and media decoded, only for missing rows."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache.artifact import open_artifact
from pipeline.config import layout
from stages.embed.audio_reader import AudioReader
from stages.embed.command import embed
from stages.embed.encoders.yamnet_minilm import ENCODER as YamnetMiniLM
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest

ENCODER = "yamnet-minilm"


@pytest.fixture
def corpus(project):
    Path("audio").mkdir()
    for i, frequency in enumerate((220, 330, 440)):
        write_tone(f"tone{i}", frequency)
    write_captions("a low tone", "a tone", "a high tone")
    Path("params.yaml").write_text(
        "corpora: {mine: {media: audio, annotations: captions.csv}}\nembeddings: {}\nsubsets: {}\n"
    )
    Path("configs/corpora/mine.yaml").write_text("window_s: null\n")
    ingest("mine")
    extract_audio("mine")
    return project


def write_tone(name: str, frequency: float) -> None:
    soundfile.write(f"audio/{name}.wav", 0.5 * np.sin(np.arange(16_000) * 2 * np.pi * frequency / 16_000), 16_000)


def write_captions(*texts: str) -> None:
    lines = [f"tone{i}.wav,{text}" for i, text in enumerate(texts)]
    Path("captions.csv").write_text("\n".join(["file,caption", *lines]) + "\n")


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """What is loaded and read, in order."""
    noted: list[str] = []
    for name in ("load_clip_tower", "load_caption_tower"):
        load = getattr(YamnetMiniLM, name)

        def noted_load(self, device, load=load, name=name):
            noted.append(name)
            return load(self, device)

        monkeypatch.setattr(YamnetMiniLM, name, noted_load)
    samples = AudioReader._samples

    def noted_samples(self, clip):
        noted.append(clip.name)
        return samples(self, clip)

    monkeypatch.setattr(AudioReader, "_samples", noted_samples)
    return noted


def artifact_bytes(items: str) -> dict[str, bytes]:
    folder = layout.embeddings("mine", ENCODER, items)
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(capsys) -> list[str]:
    """The summary lines of a run without earlier artifacts, as under DVC, which deletes them before."""
    for items in ("clips", "captions"):
        for path in artifact_bytes(items):
            Path(path).unlink()
    capsys.readouterr()
    embed("mine", ENCODER, device="cpu")
    return capsys.readouterr().out.splitlines()


def test_a_changed_caption_loads_the_caption_tower_alone_and_decodes_nothing(corpus, calls, capsys):
    run(capsys)
    assert calls[0] == "load_clip_tower" and calls[-1] == "load_caption_tower" and len(calls) == 5
    clips, captions = artifact_bytes("clips"), artifact_bytes("captions")
    write_captions("a low tone", "a tone", "a very high tone")
    ingest("mine")
    extract_audio("mine")
    calls.clear()
    of_clips, of_captions = run(capsys)
    assert calls == ["load_caption_tower"]
    assert of_clips.startswith(f"embed mine {ENCODER} clips: 3 rows wanted, 3 found in cache, 0 computed")
    assert of_captions.startswith(f"embed mine {ENCODER} captions: 3 rows wanted, 2 found in cache, 1 computed")
    assert artifact_bytes("clips") == clips and artifact_bytes("captions") != captions


def test_a_changed_clip_loads_the_clip_tower_alone_and_decodes_it_alone(corpus, calls, capsys):
    run(capsys)
    clips, captions = artifact_bytes("clips"), artifact_bytes("captions")
    write_tone("tone1", 550)
    ingest("mine")
    extract_audio("mine")
    calls.clear()
    of_clips, of_captions = run(capsys)
    assert calls == ["load_clip_tower", "tone1.wav"]
    assert "2 found in cache, 1 computed" in of_clips and "3 found in cache, 0 computed" in of_captions
    assert artifact_bytes("captions") == captions and artifact_bytes("clips") != clips


def test_a_run_with_nothing_to_do_loads_no_tower_and_writes_the_same_bytes(corpus, calls, capsys):
    run(capsys)
    before = artifact_bytes("clips") | artifact_bytes("captions")
    calls.clear()
    assert all(", 0 computed" in line for line in run(capsys)) and not calls
    assert artifact_bytes("clips") | artifact_bytes("captions") == before


def test_a_missing_file_of_either_tower_ends_the_run_before_anything_is_computed(corpus, calls, monkeypatch):
    monkeypatch.setattr(YamnetMiniLM, "caption_identity", lambda self: {"version": 1, "weights": Path("missing.pt")})
    with pytest.raises(Exception, match=r"missing\.pt"):
        embed("mine", ENCODER, device="cpu")
    assert not calls and not layout.embeddings("mine", ENCODER, "clips").exists()


def test_problems_of_a_run_are_one_table(corpus, capsys):
    run(capsys)
    tables = Path("data/problems/mine").rglob("*embed*/*.parquet")
    assert list(tables) == [layout.problems("mine", f"embed/{ENCODER}")]
    for items in ("clips", "captions"):
        assert open_artifact(layout.embeddings("mine", ENCODER, items)).description["modality"] == items
