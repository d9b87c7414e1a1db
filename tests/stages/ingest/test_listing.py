import csv
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from pipeline.media.location import MediaFolder
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
        ("captions.csv", "a.wav,a dog\n", r"columns: 'a\.wav', 'a dog'; the first line names them, with commas"),
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
    (tmp_path / "captions.csv").write_bytes(b"PK\x03\x04" + bytes(range(256)))
    with pytest.raises(UserError, match="an Excel workbook, no text: save it as text"):
        read_listing(tmp_path / "captions.csv", MediaFolder(tmp_path))
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_listing(tmp_path / "none.csv", MediaFolder(tmp_path))


TABLES = {  # (table, segments as (file, captions), what is said of the row that cannot be used)
    "commas without quotes": (
        "file,caption\na.wav,a dog, barking\nb.wav,wind\n",
        [("b.wav", ("wind",))],
        r"row 2: it has 3 fields, the header 2: put a cell with separators in quotes",
    ),
    "semicolons without quotes": (
        "file;caption;start\na.wav;a dog; barking;1,5\nb.wav;wind;2,5\n",
        [("b.wav", ("wind",))],
        r"row 2: it has 4 fields, the header 3",
    ),
    "an open quote at the end": (
        'file,caption\nb.wav,wind\na.wav,"a dog',
        [("b.wav", ("wind",))],
        r"row 3: a quotation mark is not closed",
    ),
    "an open quote above rows with quotes": (
        'file,caption\na.wav,"a dog\nb.wav,"wind, and rain"\n',
        [("b.wav", ("wind, and rain",))],
        r"row 2: a quotation mark is not closed",
    ),
    "an open quote above ids that are not there": (
        'youtube_id,caption\nb,wind\ngone1,"a dog\ngone2,rain\ngone3,storm"\n',
        [("b.wav", ("wind",)), ("gone2", ("rain",))],
        r"row 3: a quotation mark opens in row 3 .* in row 5.*\| row 5: a quotation mark opens in row 3",
    ),
    "an open quote before names": (
        'caption,file\n"a dog, loud,a.wav\nwind,b.wav\nrain",sub/d.wav\n',
        [("b.wav", ("wind",))],
        r"row 2: a quotation mark opens in row 2 .* in row 4.*\| row 4: a quotation mark opens in row 2",
    ),
    "lines in quotes before names": (
        'caption,file\n"one\n""two"", and\nthree",a.wav\n"wind, rain",b.wav\n',
        [("a.wav", ('one\n"two", and\nthree',)), ("b.wav", ("wind, rain",))],
        "",
    ),
    "a line in quotes that names a medium": (
        'file,caption\na.wav,"compare\nb.wav, it said"\nb.wav,wind\n',
        [("b.wav", ("wind",))],
        r"row 2: a quotation mark .* closes in row 3.*\| row 3: ",
    ),
    "lines in quotes below ids": (
        'id,caption\na,"a dog\nbarks"\ngone,"cats, dogs\nmice, rats"\nb,wind\n',
        [("a.wav", ("a dog\nbarks",)), ("b.wav", ("wind",))],
        r"row 4: .* closes in row 5.*\| row 5: ",
    ),
    "a name that is too long": (
        f"id,caption\n{'x' * 5000},gone\nb,wind\n",
        [("x" * 5000, ("gone",)), ("b.wav", ("wind",))],
        "",
    ),
    "text after a quote": (
        'file,caption\na.wav,"a dog" barks\nb.wav,wind\n',
        [("b.wav", ("wind",))],
        r"row 2: .*text follows one",
    ),
    "a line break without quotes": (
        "file,caption\na.wav,a dog\nbarks, loudly\nb.wav,wind\n",
        [("b.wav", ("wind",))],
        r"row 2: row 3 names no file and may be a part of this one.*\| row 3: it names no file",
    ),
    "a line break in a column before the file": (
        "caption,file\na dog\nbarks,a.wav\nwind,b.wav\n",
        [("b.wav", ("wind",))],
        r"row 2: it has 1 field.*\| row 3: row 2 names no file",
    ),
    "too few fields": (
        "file,caption\na.wav\nb.wav,wind\n",
        [("b.wav", ("wind",))],
        "row 2: it has 1 field, the header 2",
    ),
    "no times": ("file,caption,start\na.wav,x\nb.wav,y,1\n", [("a.wav", ("x",)), ("b.wav", ("y",))], ""),
    "a zero byte": ("file,caption\na.wav,a d\0g\nb.wav,wind\n", [("b.wav", ("wind",))], "row 2: .*zero byte"),
    "a control character": ("file,caption\na.wav,\x1b$BEl\nb.wav,wind\n", [("b.wav", ("wind",))], r"row 2: .*U\+001B"),
    "two tables in one file": (
        "file,caption\na.wav,x\n\ufeffb.wav,y\n",
        [("a.wav", ("x",)), ("b.wav", ("y",))],
        "",
    ),
    "another spelling of a name": ("file,caption\nu\u0308.wav,x\n\xfc,y\n", [("ü.wav", ("x", "y"))], ""),
    "a lost character": ("file,caption\na.wav,caf\ufffd\nb.wav,wind\n", [("b.wav", ("wind",))], r"row 2: .*U\+FFFD"),
    "two names": ("id,caption\ntwice,x\nb,wind\n", [("b.wav", ("wind",))], r"'twice' may be any of .*twice\.mp4"),
    "a path of Windows": (
        "file,caption\nC:\\clips\\a.wav,x\nsub\\d.wav,wind\n",
        [("sub/d.wav", ("wind",))],
        "row 2: .*path of another machine",
    ),
    "a comma that may be either": ("file;start\na.wav;1,500\nb.wav;0,500\n", [("b.wav", ())], r"may be 1\.500 or 1500"),
    "multi-line": ('file,caption\na.wav,"a dog\nbarks, loudly"\n', [("a.wav", ("a dog\nbarks, loudly",))], ""),
    "back slashes": ('file,caption\na.wav,"say \\"a, b\\" now"\n', [("a.wav", ('say "a, b" now',))], ""),
    "spaces before quotes": ('file, caption\na.wav, "a, b"\n', [("a.wav", ("a, b",))], ""),
    "an inch": ('file,caption\na.wav,a 12" pipe\n', [("a.wav", ('a 12" pipe',))], ""),
    "tabs": ("file\tcaption\na.wav\tone, two; three\n", [("a.wav", ("one, two; three",))], ""),
    "pipes": ("file|caption\na.wav|one, two; three\n", [("a.wav", ("one, two; three",))], ""),
    "sep": ("sep=|\nfile|caption\na.wav|one, two\n", [("a.wav", ("one, two",))], ""),
    "a semicolon in the header": ('file,caption,"notes; ours"\na.wav,x;y,z\n', [("a.wav", ("x;y",))], ""),
    "old line ends": ("file,caption\ra.wav,x\rb.wav,y\r", [("a.wav", ("x",)), ("b.wav", ("y",))], ""),
    "separators at the ends": ("file,caption,,\na.wav,x,,\n,,,\nb.wav,y\n", [("a.wav", ("x",)), ("b.wav", ("y",))], ""),
    "Clotho": ("file_name,caption_1,caption_2\na.wav,x,y\nb.wav,z,\n", [("a.wav", ("x", "y")), ("b.wav", ("z",))], ""),
    "a column twice": ("file,caption,caption\na.wav,x,y\n", [("a.wav", ("x", "y"))], ""),
    "AudioCaps": (
        "audiocap_id,youtube_id,start_time,caption\n1,a,30,x\n2,gone,0,y\n",
        [("a.wav", ("x",)), ("gone", ("y",))],
        "",
    ),
    "ids in another column": ("youtube_id,audiocap_id,caption\n-x1,a,x\n", [("a.wav", ("x",))], ""),
    "comments": ("# ours\nfile,caption\n# more\na.wav,x\n", [("a.wav", ("x",))], ""),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_people_and_programs(tmp_path, name):
    text, segments, reason = TABLES[name]
    for file in ("a.wav", "b.wav", "sub/d.wav", "twice.wav", "twice.mp4", "ü.wav"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    for bom in (b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2):
        (tmp_path / "captions.csv").write_bytes(bom + text.encode())
        found = read_listing(tmp_path / "captions.csv", MediaFolder(tmp_path))
        assert [(one.media.as_posix(), one.captions) for one in found.segments] == segments
        said = " | ".join(reason for _, _, reason in found.faults)
        assert re.search(reason, said) if reason else not said, said


def test_decimal_commas_are_times(tmp_path):
    found = read(tmp_path, "file;caption;start;stop\na.mp4;eins, zwei;1,5;00:00:02,25\n")
    assert (found.segments[0].start_s, found.segments[0].stop_s) == (1.5, 2.25)


def test_utf_16_is_read(tmp_path):
    text = "file\tcaption\r\na.mp4\tein Hund, laut\r\n"
    for data in (text.encode("utf-16"), b"\xfe\xff" + text.encode("utf-16-be"), text.encode("utf-16-le")):
        (tmp_path / "captions.csv").write_bytes(data)
        found = read_listing(tmp_path / "captions.csv", MediaFolder(tmp_path))
        assert found.segments[0].captions == ("ein Hund, laut",)
        assert any(remark.endswith("was read as UTF-16") for remark in found.notes)


def test_a_table_without_captions_says_so(tmp_path):
    assert "no caption column is known in" in read(tmp_path, "file,label\na.mp4,dog\n").notes[0]
    assert read(tmp_path, "file,caption\na.mp4,\n").notes == [f"no row of {tmp_path / 'captions.csv'} has a caption"]
    assert "none of ends" in read(tmp_path, "file,caption,start\na.mp4,x,1\n").notes[0]


def test_columns_that_cannot_be_told_are_said(tmp_path):
    with pytest.raises(UserError, match="has 2 columns 'file'"):
        read(tmp_path, "file,file,caption\na.mp4,b.mp4,x\n")
    with pytest.raises(UserError, match="column 'id' names none of the media"):
        read(tmp_path, "id,text\n1,dog\n")


def test_a_bad_line_of_json_costs_that_line(tmp_path):
    lines = [
        '{"file": "a.mp4", "caption": "a party \\ud83c"}',
        '{"file": "a.mp4", "caption": 5}',
        '{"file": "a.mp4", "caption": ["fine", ["nested"]]}',
        '{"file": 7, "caption": "x"}',
        '{"file": null, "caption": "x"}',
        '{"file": "a.mp4", "caption": "x", "start": NaN}',
        '{"file": "a.mp4", "caption": "x", "start": -1}',
        '{"file": "a.mp4", "caption": "x", "start": true}',
        '{"file": "a.mp4", "caption": "x", "stop": Infinity}',
        '{"file": "a.mp4", "caption": "x", "start": ' + "9" * 5000 + "}",
        '{"file": "a.mp4", "caption": "x", "caption": "y"}',
        "[" * 100_000,
        "{",
        '{"caption": "x"}',
        '{"file": "half\\udc00.mp4", "caption": "x"}',
        '{"file": "b.mp4", "caption": null}',
    ]
    found = read(tmp_path, "\n".join(lines), "captions.jsonl")
    assert [(one.media.name, one.captions) for one in found.segments] == [("a.mp4", ("fine",)), ("b.mp4", ())]
    reasons = [reason for _, _, reason in found.faults]
    expected = ["U+D83C", "is a number", "is a list", "is a number", "no file is named", "'nan' is no time"]
    expected += ["'-1' is no time", "is true or false", "'inf' is no time", "4300 digits", "more than once"]
    expected += ["nested too deeply", "is no JSON object", "no column `file`", "U+DC00"]
    assert [said.split(":")[0] for said in reasons] == [f"line {n}" for n in range(1, 16)]
    for said, part in zip(reasons, expected, strict=True):
        assert part in said
    pl.DataFrame(found.faults, orient="row")  # no half character is in what is said


def test_times_that_are_none_cost_their_row(tmp_path):
    wrong = ["-1", "nan", "inf", "1e999", "1_0", "9" * 5000, "1:2:3:4", "soon"]
    found = read(tmp_path, "file,start\n" + "".join(f"a.mp4,{time}\n" for time in wrong) + "b.mp4,1\n")
    assert [one.media.name for one in found.segments] == ["b.mp4"]
    assert all("is no time" in reason and len(reason) < 150 for _, _, reason in found.faults)
    assert len(found.faults) == len(wrong)


def test_two_back_slashes_before_a_quote_are_reported_not_guessed(tmp_path):
    found = read(tmp_path, '"file","caption"\n"a.mp4","\\\\"\n"b.mp4","x"\n')
    assert [one.captions for one in found.segments] == [("x",)]
    assert [reason[:6] for _, _, reason in found.faults] == ["row 2:"]
    assert "can be read in two ways" in found.faults[0][2]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(
            st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffd", include_characters="\n\t"),
            max_size=30,
        ),
        max_size=6,
    ),
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.permutations(["file", "caption", "start"]),
)
def test_what_a_csv_writer_writes_is_read(tmp_path, captions, delimiter, quoting, line_end, header):
    with (tmp_path / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
        writer.writeheader()
        writer.writerows({"file": f"{n}.wav", "caption": caption, "start": "1.5"} for n, caption in enumerate(captions))
    found = read_listing(tmp_path / "captions.csv", MediaFolder(tmp_path))
    if any("\\\\" in caption for caption in captions) and found.faults:  # one back slash or two: not guessed
        assert all("can be read in two ways" in reason for _, _, reason in found.faults)
        return
    expected = [(caption.strip(),) if caption.strip() else () for caption in captions]
    assert [one.captions for one in found.segments] == expected
    assert found.faults == []
