"""The stages themselves: what they say they would do, and how they leave."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults.material import everything
from interrupted_run import silent_wav
from media_samples import tone, write_media
from waiting import output_of, wait_until

MEDIA = 5
PARAMS = "corpora: {mine: {media: videos, annotations: captions.csv}}\nembeddings: {}\nsubsets: {}\n"


@pytest.fixture
def corpus(project, hearonce):
    """Five media of a second, ingested; what the project holds then."""
    Path("videos").mkdir()
    lines = ["file,caption"]
    for number in range(MEDIA):
        write_media(Path(f"videos/{number}.wav"), samples=tone(1.0, 16_000, 200.0 + number), sample_rate=16_000)
        lines.append(f"{number}.wav,text {number}")
    Path("captions.csv").write_text("\n".join(lines) + "\n")
    Path("params.yaml").write_text(PARAMS)
    Path("configs/corpora/mine.yaml").write_text("window_s: null\n")
    assert hearonce("ingest", "mine")[0] == 0
    return everything(Path())


def test_a_dry_run_says_what_is_to_do_and_writes_nothing(corpus, hearonce):
    code, said, _ = hearonce("extract-audio", "mine", "--dry-run")
    assert code == 0
    assert said.splitlines()[0] == (
        "extract_audio mine: 5 media wanted, 0 present, 5 to compute, from 5 media with 5.0 s of them to go through"
    )
    assert "no earlier run on this machine" in said and "of audio in .hearonce/audio" in said
    assert everything(Path()) == corpus
    assert hearonce("extract-audio", "mine")[0] == 0
    done = everything(Path())
    assert "0 to compute" in hearonce("extract-audio", "mine", "--dry-run")[1]
    for flac in sorted(Path(".hearonce/audio").rglob("*.flac"))[:2]:
        flac.unlink()
    said = hearonce("extract-audio", "mine", "--dry-run")[1]
    assert "5 media wanted, 3 present, 2 to compute" in said and "s of audio a second on this machine (one run" in said
    assert {path for path in everything(Path()) if not path.endswith(".flac")} == {
        path for path in done if not path.endswith(".flac")
    }


def test_a_dry_run_of_an_encoder_writes_nothing_either(corpus, hearonce):
    assert hearonce("extract-audio", "mine")[0] == 0
    for path in Path(".hearonce").rglob("digests*"):
        path.unlink()
    before = everything(Path())
    code, said, _ = hearonce("embed", "mine", "yamnet-minilm", "--dry-run", "--device", "cpu")
    assert code == 0 and everything(Path()) == before
    for items in ("clips", "captions"):
        assert f"embed mine yamnet-minilm {items}: 5 rows wanted, 0 present, 5 to compute" in said
    assert "no earlier run on cpu: " in said and "of embeddings in data" in said


def test_a_disk_that_is_too_small_is_refused_before_anything_is_done(corpus, hearonce, monkeypatch):
    monkeypatch.setenv("HEARONCE_RESERVE_MB", "1e9")
    assert "NOT ENOUGH" in hearonce("extract-audio", "mine", "--dry-run")[1]
    code, _, said = hearonce("extract-audio", "mine")
    assert code == 2 and said.startswith("hearonce: The disk is too small for this run (about ")
    assert not list(Path(".hearonce").rglob("*.flac"))
    monkeypatch.delenv("HEARONCE_RESERVE_MB")
    assert hearonce("extract-audio", "mine")[0] == 0


def test_extract_audio_gives_up_a_long_file_and_keeps_the_short_ones(corpus, hearonce):
    silent_wav(Path("videos/long.wav"), 3600)
    Path("captions.csv").write_text(Path("captions.csv").read_text() + "long.wav,silence\n")
    assert hearonce("ingest", "mine")[0] == 0
    command = "import sys; sys.argv = ['hearonce', 'extract-audio', 'mine', '--workers', '2']; "
    command += "from stages.command_line import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", command], env=environment, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(list(Path(".hearonce/audio").rglob("*.json"))) >= MEDIA, process)
    process.send_signal(signal.SIGTERM)
    _, said = output_of(process)
    assert process.returncode == 143
    assert said.splitlines()[-1].startswith("hearonce: interrupted;") and "Traceback" not in said
    assert len(list(Path(".hearonce/audio").rglob("*.flac"))) == MEDIA
    assert not list(Path(".hearonce/audio").rglob("*.part"))
    Path("videos/long.wav").unlink()
    Path("captions.csv").write_text(Path("captions.csv").read_text().replace("long.wav,silence\n", ""))
    assert hearonce("ingest", "mine")[0] == 0
    assert f"{MEDIA} found in cache, 0 computed" in hearonce("extract-audio", "mine")[1]
