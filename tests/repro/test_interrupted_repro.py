"""Ctrl-C in the terminal of a `dvc repro` goes to all its processes; the next one goes on from there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from interrupted_run import silent_wav
from waiting import output_of, wait_until

PARAMS = "corpora: {mine: {media: videos, annotations: captions.csv}}\nembeddings: {}\nsubsets: {}\n"
STAGE = """\
stages:
  extract_audio:
    cmd: hearonce extract-audio mine
    deps: [data/tables/mine/media.parquet]
    outs: [data/audio/mine.parquet, data/problems/mine/extract_audio.parquet]
"""


def start(*command: str) -> subprocess.Popen[str]:
    variables = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    variables["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_ctrl_c_under_dvc_keeps_what_was_done(project, hearonce):
    Path("videos").mkdir()
    for name, seconds in (("first", 1), ("second", 2), ("third", 3 * 3600)):
        silent_wav(Path(f"videos/{name}.wav"), seconds)
    Path("captions.csv").write_text("file,caption\nfirst.wav,one\nsecond.wav,two\nthird.wav,three\n")
    Path("params.yaml").write_text(PARAMS)
    Path("configs/corpora/mine.yaml").write_text("window_s: null\n")
    Path("dvc.yaml").write_text(STAGE)
    assert hearonce("ingest", "mine")[0] == 0
    assert start("dvc", "init", "--no-scm", "-q").wait() == 0
    repro = start("dvc", "repro")
    wait_until(lambda: len(list(Path(".hearonce/audio").rglob("*.json"))) >= 2, repro)
    os.killpg(repro.pid, signal.SIGINT)
    said, _ = output_of(repro)
    assert repro.returncode != 0 and "hearonce: interrupted; everything that was committed is kept" in said
    assert len(list(Path(".hearonce/audio").rglob("*.flac"))) == 2
    silent_wav(Path("videos/third.wav"), 3)
    assert hearonce("ingest", "mine")[0] == 0
    repro = start("dvc", "repro")
    said, _ = output_of(repro)
    assert repro.returncode == 0 and "3 media wanted, 2 found in cache, 1 computed, 0 failed" in said
    assert Path("data/audio/mine.parquet").is_file()
