"""Caption files that mean harm or are no texts at all: one sentence each, in a time that grows with their size."""

import contextlib
import json
import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.formats.text import fault_of_text
from pipeline.media.location import MediaFolder
from pipeline.media.media_list import read_media_list
from pipeline.media.probe import AudioTrack, MediaInfo
from pipeline.monitor.problems import Problems
from stages.ingest.annotations import Annotations, Segment
from stages.ingest.listing import read_listing, urls_in
from stages.ingest.readers.ego_mcq import read_questions
from stages.ingest.readers.folder import read
from stages.ingest.retrieval_files import read_clips
from stages.ingest.subtitles import read_cues
from stages.ingest.tables import Medium, build

CUE = "00:00:01,000 --> 00:00:02,000\n"
ASS = "[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,"
TTML = '<tt xmlns="http://www.w3.org/ns/ttml"><body><div>'


def read_table(path: Path) -> list[Segment]:
    return read_listing(path, MediaFolder(path.parent)).segments


def read_texts(path: Path) -> Annotations:
    return read(CorpusPlace(media=path.parent, annotations=path.parent / "none"), CorpusConfig(captions_from="text"))


GROWING = {
    "srt angle brackets": ("a.srt", lambda n: CUE + "<" * n),
    "srt open tags": ("a.srt", lambda n: CUE + "<a =" * n),
    "srt open braces": ("a.srt", lambda n: CUE + "{\\" * n),
    "srt entities": ("a.srt", lambda n: CUE + "&#9" * n),
    "srt arrows": ("a.srt", lambda n: CUE + "-->" * n),
    "srt digits": ("a.srt", lambda n: CUE + "1:1" * n + " " * n),
    "srt cues": ("a.srt", lambda n: "".join(f"{i}\n{CUE}x\n\n" for i in range(n // 50))),
    "srt bad cues": ("a.srt", lambda n: "0:0x,0 --> 00:00:02,000\nx\n\n" * (n // 50)),
    "srt blank lines": ("a.srt", lambda n: CUE + "\n" * n + "x"),
    "vtt notes": ("a.vtt", lambda n: "WEBVTT\n\n" + "NOTE x\n\n" * (n // 10) + CUE + "x"),
    "vtt headers": ("a.vtt", lambda n: "WEBVTT\n" * (n // 10) + CUE + "x"),
    "vtt header": ("a.vtt", lambda n: "WEBVTT\n" + "X-TIMESTAMP-MAP=x\n" * (n // 10) + "\n" + CUE + "x"),
    "vtt rolling": ("a.vtt", lambda n: "WEBVTT\n\n" + (CUE + "x\n" * 20 + "<00:00:01.000>y\n\n") * (n // 100)),
    "vtt rolling lines": ("a.vtt", lambda n: "WEBVTT\n\n" + (CUE + "x\n" * (n // 10) + "<00:00:01.000>y\n\n") * 2),
    "ass braces": ("a.ass", lambda n: ASS + "{" * n),
    "ass events": ("a.ass", lambda n: "[Events]\n" + (ASS[9:] + "x\n") * (n // 50)),
    "ttml entities": ("a.ttml", lambda n: TTML + '<p begin="1s" end="2s">' + "&lt;" * n + "</p></div></body></tt>"),
    "ttml paragraphs": ("a.ttml", lambda n: TTML + '<p begin="1s" end="2s">x</p>' * (n // 50) + "</div></body></tt>"),
    "csv quotes": ("a.csv", lambda n: "file,caption\na.wav," + '"' * n + "\n"),
    "csv open quotes": ("a.csv", lambda n: "file,caption\n" + 'x,"y\n' * (n // 10)),
    "csv open quotes of media": ("a.csv", lambda n: "file,caption\n" + 'a.wav,"y\n' * (n // 4)),
    "csv accents of a name": ("a.csv", lambda n: "file,caption\nu" + "\u0301\u0323" * n + ".wav,y\n"),
    "csv quoted lines": ("a.csv", lambda n: "file,caption\n" + 'x,"y\n' + '""\n' * (n // 10)),
    "csv escapes": ("a.csv", lambda n: 'file,caption\na.wav,"' + '\\"' * n + '"\n'),
    "csv separators": ("a.csv", lambda n: "file,caption\na.wav" + ", " * n + "\n"),
    "csv columns": ("a.csv", lambda n: "file,caption" + ",x" * (n // 10) + "\na.wav,y" + ",x" * (n // 10) + "\n"),
    "csv captions of one clip": ("a.csv", lambda n: "file,caption\n" + "".join(f"a.wav,{i}\n" for i in range(n // 10))),
    "csv torn rows": ("a.csv", lambda n: "file,caption\na.wav,x\n" + "torn\n" * (n // 10)),
    "jsonl brackets": ("a.jsonl", lambda n: '{"file":"a.wav"}\n' + "[" * n),
    "jsonl captions": (
        "a.jsonl",
        lambda n: json.dumps({"file": "a.wav", "caption": [str(i) for i in range(n // 10)]}),
    ),
    "jsonl bad lines": ("a.jsonl", lambda n: "{\n" * (n // 10) + '{"file":"a.wav"}\n'),
    "txt lines": ("a.txt", lambda n: "".join(f"line {i}\n" for i in range(n // 10))),
}
READERS = {".csv": read_table, ".jsonl": read_table, ".txt": read_texts}


@pytest.mark.parametrize("name", GROWING)
def test_four_times_the_size_takes_no_sixteen_times_the_time(tmp_path, name):
    file, made = GROWING[name]
    (tmp_path / "a.wav").touch()
    path = tmp_path / file

    def seconds(n: int) -> float:
        path.write_text(made(n), encoding="utf-8")
        best = 60.0
        for _ in range(3):
            begun = time.thread_time()
            READERS.get(path.suffix, read_cues)(path)
            best = min(best, time.thread_time() - begun)
        return best

    small, large = seconds(20_000), seconds(80_000)
    assert large < 10 * small + 0.02, f"{small:.4f} s, then {large:.4f} s"


def test_a_hundred_thousand_captions_of_one_clip(tmp_path):
    (tmp_path / "captions.csv").write_text("file,caption\n" + "".join(f"a.wav,caption {i}\n" for i in range(100_000)))
    begun = time.thread_time()
    annotations = read_listing(tmp_path / "captions.csv", MediaFolder(tmp_path))
    media = {Path("a.wav"): Medium("d", MediaInfo(5.0, AudioTrack(16000, 1, "pcm"), None))}
    tables = build(annotations, media, CorpusConfig(), Problems("ingest"))
    assert len(tables.pairs) == len(tables.captions) == 100_000
    assert time.thread_time() - begun < 30  # it took 86 s


@pytest.fixture
def no_file(tmp_path, request, monkeypatch):
    """A path that is no regular file, of the kind that the test asks for."""
    path = tmp_path / ("x" + request.param[1])
    if request.param[0] == "pipe":
        os.mkfifo(path)
    elif request.param[0] == "device":
        path.symlink_to("/dev/zero")
    elif request.param[0] == "socket":
        server = socket.socket(socket.AF_UNIX)
        monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 bytes
        server.bind(path.name)
        server.close()
    else:
        path.mkdir()
    return path


KINDS = ("pipe", "device", "socket", "folder")


@pytest.mark.parametrize("no_file", [(kind, ".srt") for kind in KINDS], indirect=True)
def test_subtitles_that_are_no_file_are_said_without_waiting(no_file):
    with pytest.raises(UserError, match=r"subtitle file .*x\.srt is a (pipe|device|socket|folder)"):
        read_cues(no_file)


@pytest.mark.parametrize("no_file", [(kind, ".csv") for kind in KINDS], indirect=True)
def test_tables_that_are_no_file_are_said_without_waiting(no_file):
    with pytest.raises(UserError, match=r"caption file .*x\.csv is a (pipe|device|socket|folder)"):
        read_table(no_file)
    with pytest.raises(UserError, match=r"media list .*x\.csv is a (pipe|device|socket|folder)"):
        read_media_list(no_file)


@pytest.mark.parametrize("no_file", [("pipe", ".txt"), ("pipe", ".srt")], indirect=True)
def test_a_pipe_beside_a_medium_is_its_problem_alone(tmp_path, no_file):
    (tmp_path / "x.wav").touch()
    (tmp_path / "y.wav").touch()
    kind = {".txt": "text", ".srt": "subtitles"}[no_file.suffix]
    found = read(CorpusPlace(media=tmp_path, annotations=tmp_path / "none"), CorpusConfig(captions_from=kind))
    assert [one.media.name for one in found.segments] == ["x.wav", "y.wav"]
    assert [(id, "is a pipe" in reason) for id, _, reason in found.faults] == [("x.wav", True)]


def test_what_is_larger_than_the_bound_is_not_read(tmp_path, monkeypatch):
    with (tmp_path / "a.srt").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte that takes no room
    with pytest.raises(UserError, match=r"a\.srt is larger than 64 MiB.*HEARONCE_TEXT_MB to 16 times"):
        read_cues(tmp_path / "a.srt")
    monkeypatch.setenv("HEARONCE_TEXT_MB", "0.00001")
    (tmp_path / "a.csv").write_text("file,caption\na.wav,dog\n")
    with pytest.raises(UserError, match=r"a\.csv is larger than"):
        read_table(tmp_path / "a.csv")
    monkeypatch.setenv("HEARONCE_TEXT_MB", "much")
    with pytest.raises(UserError, match=r"HEARONCE_TEXT_MB is 'much'"):
        read_table(tmp_path / "a.csv")


MARKS = [b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"\xe9", "é😀".encode(), b"\xed\xa0\xbd", "\ufffd".encode(), b"x" * 50]
TABLE = [
    b"\r",
    b"\n",
    b"\r\n",
    b'"',
    b'\\"',
    b",",
    b";",
    b"\t",
    b"|",
    b"#",
    b"sep=;\n",
    b"file",
    b"caption",
    b"start",
    b"a.wav",
]
JSON = [b"{", b"}", b"[", b"]", b":", b"NaN", b"1e999", b'"\\ud83c"', b"9" * 5000, b'{"file":"a.wav","caption":"x"}\n']
CUES = [b"WEBVTT\n", b"NOTE", b" --> ", b"00:00:01,000", b"00:00:02.000", b"<00:00:01.500>", b"<c>", b"&#", b"&#xD800;"]
OTHER = [b"<tt>", b"<p begin='1s' end='2s'>", b"[Events]\n", b"Dialogue: 0,0:00:01.00,0:00:02.00,,,,,,,", b"&amp;"]
PIECES = st.sampled_from([*MARKS, *TABLE, *JSON, *CUES, *OTHER])
FILES = st.lists(st.one_of(PIECES, st.binary(max_size=3)), max_size=30).map(b"".join)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES, st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.srt", "a.vtt", "a.ass", "a.ttml", "a.txt"]))
def test_any_bytes_give_sound_captions_or_a_sentence(tmp_path, data, name):
    (tmp_path / "a.wav").touch()
    path = tmp_path / name
    path.write_bytes(data)
    faults: list = []
    try:
        if path.suffix in (".csv", ".tsv", ".jsonl"):
            found = read_listing(path, MediaFolder(tmp_path))
            segments, faults = found.segments, found.faults
            texts = [text for segment in segments for text in segment.captions]
            assert all((one.stop_s or 1e99) > (one.start_s or 0.0) >= 0.0 for one in segments)
            assert all(fault_of_text(one.media.as_posix()) is None for one in segments)
        elif path.suffix == ".txt":
            found = read_texts(path)
            texts, faults = [text for one in found.segments for text in one.captions], found.faults
        else:
            cues, reasons = read_cues(path)
            texts, faults = [cue.text for cue in cues], [("", "", reason) for reason in reasons]
            assert all(0.0 <= cue.start_s < cue.stop_s < 1e13 for cue in cues)
    except UserError as error:
        texts = []
        assert str(error).endswith(".") or "known:" in str(error) or "did you mean" in str(error)
    finally:
        path.unlink()
    assert all(text.strip() and fault_of_text(text) is None for text in texts)
    assert all(fault_of_text(part) is None for fault in faults for part in fault)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES, st.sampled_from(["a.csv", "a.tsv", "a.txt", "a.jsonl"]))
def test_any_bytes_as_a_media_list_give_a_sentence(tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    for reader in (read_media_list, urls_in):
        with contextlib.suppress(UserError):
            reader(path)


CLIP = "id,participant,video,a,b,c,first,last,text,start_timestamp,stop_timestamp,verb_class\n"
ROW = ["id1", "P01", "P01_01", "", "", "", "10", "20", "take cup", "00:00:01.00", "00:00:02.00", "3"]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (6, "", "columns 7 and 8 are no frame numbers"),
        (6, "²", "columns 7 and 8 are no frame numbers"),
        (7, "9" * 5000, "columns 7 and 8 are no frame numbers"),
        (8, "caf\ufffd", r"row 2: .*U\+FFFD"),
        (8, "a\0", "row 2: .*zero byte"),
        (9, "9" * 5000, "row 2: .*is no time"),
        (11, "9" * 5000, "row 2: 'verb_class' holds a number of more than 9 digits"),
        (11, "3,x", "more columns than the header in row 2"),
        (8, '"open', "no readable table"),
    ],
)
def test_official_tables_that_were_changed_are_said(tmp_path, column, value, reason):
    (tmp_path / "clips.csv").write_text(CLIP + ",".join([*ROW[:column], value, *ROW[column + 1 :]]) + "\n")
    with pytest.raises(UserError, match=reason):
        read_clips(tmp_path, "clips.csv", "somewhere").classes("verb_class")


@pytest.mark.parametrize("value", ["1e999", "NaN", "1e300", '"x"', "null", "[1]", "-5"])
def test_questions_that_cannot_be_are_problems_of_their_own(tmp_path, value):
    def question(stop: str, text: str = "#C C cuts") -> str:
        choice = '{"video_uid": "v", "clip_start": 1.0, "clip_end": %s}'
        choices = ", ".join(f'"{n}": {choice % (stop if n == 4 else "2.0")}' for n in range(5))
        return f'{{"query": {{"clip_text": "{text}"}}, "choices": {{{choices}}}, "answer": 0, "types": 1}}'

    questions = [question("3.0"), question(value), question("3.0", "half \\ud83c"), question("4.0")]
    path = tmp_path / "q.json"
    path.write_text("{" + ", ".join(f'"{n}": {text}' for n, text in enumerate(questions)) + "}")
    entries, faults = read_questions(path, "somewhere")
    assert [entry.key for entry in entries] == ["0", "3"] and [id for id, _, _ in faults] == ["1", "2"]
    for text in ("[" * 100_000, '{"0": ' + "9" * 5000 + "}", "{"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"q\.json is (nested too deeply|no valid JSON)"):
            read_questions(path, "somewhere")
