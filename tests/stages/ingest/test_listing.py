from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.media_place import MediaFolder
from stages.ingest.annotations import Segment
from stages.ingest.listing import read_listing


def read(tmp_path, text, name="captions.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_listing(tmp_path / name, MediaFolder(tmp_path))


def test_rows_of_one_clip_are_joined(tmp_path):
    found = read(tmp_path, "file,caption\na.mp4,a dog\nb.mp4,a cat\na.mp4,barking\na.mp4,a dog\n")
    assert [(one.media, one.captions) for one in found.segments] == [
        (Path("a.mp4"), ("a dog", "barking")),
        (Path("b.mp4"), ("a cat",)),
    ]


def test_times_and_aliases_and_spaces(tmp_path):
    found = read(tmp_path, "\ufeffVideo, Start ,end,text,other\nx y.mkv,1.5,00:00:03.5,“naïve”,z\nx y.mkv,,,,\n")
    assert found.segments == [
        Segment(Path("x y.mkv"), ("“naïve”",), 1.5, 3.5, "captions.csv row 2"),
        Segment(Path("x y.mkv"), (), None, None, "captions.csv row 3"),
    ]


def test_tsv_and_json_lines(tmp_path):
    tsv = read(tmp_path, "file\tcaption\na.mp4\tone, two\n", "captions.tsv")
    assert tsv.segments[0].captions == ("one, two",)
    lines = '{"path": "a.mp4", "caption": ["one", "two"], "start": 1, "stop": 2.5}\n\n{"path": "b.mp4"}\n'
    jsonl = read(tmp_path, lines, "captions.jsonl")
    assert jsonl.segments[0] == Segment(Path("a.mp4"), ("one", "two"), 1.0, 2.5, "captions.jsonl line 1")
    assert jsonl.segments[1].captions == ()


def test_semicolons_as_spreadsheets_of_some_countries_write_them(tmp_path):
    found = read(tmp_path, "file;caption\na.mp4;one, two\n")
    assert found.segments[0].captions == ("one, two",)


def test_a_bad_row_becomes_a_fault_and_the_rest_is_read(tmp_path):
    found = read(tmp_path, "file,caption,start,stop\na.mp4,x,5,2\nb.mp4,x,soon,\n,x,,\nc.mp4,fine,0,1\n")
    assert [segment.media for segment in found.segments] == [Path("c.mp4")]
    assert [reason for _, _, reason in found.faults] == [
        "row 2: the clip stops at 2 s, before or when it starts at 5 s",
        "row 3: 'soon' is no time (write seconds, or hh:mm:ss.mmm)",
        "row 4: no file is named",
    ]


def test_absolute_paths_inside_the_folder_become_relative(tmp_path):
    found = read(tmp_path, f"file,caption\n{tmp_path}/sub/a.mp4,x\n")
    assert found.segments[0].media == Path("sub/a.mp4")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("captions.csv", "fle,caption\na.mp4,x\n", "no column `file`.*'fle': did you mean 'file'"),
        ("captions.csv", "", "no column `file`"),
        ("captions.jsonl", "{bad\n", "line 1 is no JSON object"),
        ("captions.jsonl", "[1]\n", "line 1 is no JSON object"),
    ],
)
def test_an_unusable_file_is_named(tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text, name)


def test_what_is_not_utf8_is_said(tmp_path):
    (tmp_path / "captions.csv").write_bytes("file,caption\na.mp4,gr\xfcn\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"no UTF-8 \(byte 0xFC in line 2\): save it in UTF-8"):
        read_listing(tmp_path / "captions.csv", MediaFolder(tmp_path))
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_listing(tmp_path / "none.csv", MediaFolder(tmp_path))
