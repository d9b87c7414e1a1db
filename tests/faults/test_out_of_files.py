"""A process that may open no more files says so in one sentence, and takes no clip for bad."""

import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
from interrupted_run import silent_wav

from cache.durable import new_file
from cache.errors import OutOfFiles, WriteError
from pipeline.console.app import run, typer
from pipeline.media.containers import MediaError
from pipeline.media.opening import first_bytes
from pipeline.monitor.problems import problem_of


@contextmanager
def no_more_files():
    """As few as are open now."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[0]), before[1]))
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_reading_and_writing_say_what_to_do(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with no_more_files():
        with pytest.raises(MediaError) as caught:
            first_bytes(tmp_path / "a.wav")
        with pytest.raises(OutOfFiles, match=r"`ulimit -n 4096`"):
            problem_of(caught.value)
        with pytest.raises(WriteError, match=r"too many files are open: allow more by `ulimit -n"):
            with new_file(tmp_path / "b") as temporary:
                temporary.write_bytes(b"x")
    assert not (tmp_path / "b").exists()


def test_a_command_ends_in_one_sentence(monkeypatch, capsys):
    def work():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "file")

    monkeypatch.setattr("sys.argv", ["hearonce"])
    app = typer.Typer()
    app.command()(work)
    with pytest.raises(SystemExit) as ended:
        run(app)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and "ulimit -n" in said


def test_no_medium_is_listed_as_bad_and_the_next_run_is_whole(project, hearonce):
    Path("videos").mkdir()
    for number in range(3):
        silent_wav(Path(f"videos/{number}.wav"), number + 1)
    Path("captions.csv").write_text("file,caption\n0.wav,a\n1.wav,b\n2.wav,c\n")
    Path("params.yaml").write_text(
        "corpora: {mine: {media: videos, annotations: captions.csv}}\nembeddings: {}\nsubsets: {}\n"
    )
    Path("configs/corpora/mine.yaml").write_text("window_s: null\n")
    assert hearonce("ingest", "mine")[0] == 0
    with no_more_files():
        code, _, said = hearonce("extract-audio", "mine")
    assert code == 2 and said.count("\n") == 1 and said.startswith("hearonce: "), said
    assert not Path("data/problems/mine/extract_audio.parquet").exists()
    assert "3 computed, 0 failed" in hearonce("extract-audio", "mine")[1]
