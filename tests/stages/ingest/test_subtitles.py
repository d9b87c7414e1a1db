import io
import re

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from stages.ingest.cues import read_cue_lines, words_of
from stages.ingest.subtitles import Cue, read_cues

SRT = (
    "1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>Chop</i> the\r\nonions &amp; garlic\r\n\r\n"
    "2\r\n00:00:03,000 --> 00:00:04,000\r\nFry\r\n"
)
VTT = """WEBVTT - a title

NOTE a comment

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Anna>Chop the onions

00:00:05.000 --> 00:00:04.000
backwards

00:00:06.000 --> 00:00:07.000

"""


def test_srt(tmp_path):
    (tmp_path / "a.srt").write_bytes(SRT.encode())
    cues, faults = read_cues(tmp_path / "a.srt")
    assert cues == [Cue(1.0, 2.5, "Chop the onions & garlic"), Cue(3.0, 4.0, "Fry")]
    assert faults == []


def test_vtt_with_notes_settings_and_a_bad_cue(tmp_path):
    (tmp_path / "a.vtt").write_text(VTT)
    cues, faults = read_cues(tmp_path / "a.vtt")
    assert cues == [Cue(1.0, 2.5, "Chop the onions")]
    assert len(faults) == 1 and "stops before it starts" in faults[0]


def test_no_cue_is_an_error(tmp_path):
    (tmp_path / "a.srt").write_text("hello\n")
    with pytest.raises(UserError, match="no subtitle cue"):
        read_cues(tmp_path / "a.srt")


def cue(number, start, stop, text):
    return f"{number}\n00:00:0{start},000 --> 00:00:0{stop},000\n{text}\n\n"


FILES = {  # (name, text, cues)
    "blank line in a cue": (
        "a.srt",
        cue(1, 1, 3, "one\n\nmore of one") + cue(2, 4, 5, "\nwords of two"),
        [(1, 3, "one more of one"), (4, 5, "words of two")],
    ),
    "line ends doubled": ("a.srt", (cue(1, 1, 2, "a") + cue(2, 3, 4, "b")).replace("\n", "\r\r\n"), "ab"),
    "lines with blank ones between": ("a.srt", (cue(1, 1, 2, "a") + cue(2, 3, 4, "b")).replace("\n", "\n\n"), "ab"),
    "old line ends": ("a.srt", (cue(1, 1, 2, "a") + cue(2, 3, 4, "b")).replace("\n", "\r"), "ab"),
    "no indices": ("a.srt", "00:00:01,000 --> 00:00:02,000\nroom\n101\n\n", [(1, 2, "room 101")]),
    "numbers as text": (
        "a.srt",
        cue(1, 1, 2, "42") + cue(2, 3, 4, "the year\n1984") + cue(3, 5, 6, "ten\n9"),
        [(1, 2, "42"), (3, 4, "the year 1984"), (5, 6, "ten 9")],
    ),
    "no blank line between": ("a.srt", (cue(1, 1, 2, "a") + cue(2, 3, 4, "b")).replace("\n\n", "\n"), "ab"),
    "points, no hours": ("a.srt", "1\n00:01.000 --> 00:02.000\na\n", [(1, 2, "a")]),
    "one digit of a fraction": ("a.srt", "1\n00:00:01,5 --> 00:00:02,25\na\n", [(1.5, 2.25, "a")]),
    "places on the screen": ("a.srt", "1\n00:00:01,000 --> 00:00:02,000 X1:100 Y1:20\na\n", [(1, 2, "a")]),
    "what is no markup": (
        "a.srt",
        cue(1, 1, 2, "if a < b and c > d --> e &lt;3 {curly}"),
        [(1, 2, "if a < b and c > d --> e <3 {curly}")],
    ),
    "markup": ("a.srt", cue(1, 1, 2, '{\\an8}<font color="red">a</font> <b>b</b> < i>c</i>'), [(1, 2, "a b c")]),
    "times in the text": (
        "a.srt",
        cue(1, 1, 2, "from 00:00:05,000 to 00:00:06,000"),
        [(1, 2, "from 00:00:05,000 to 00:00:06,000")],
    ),
    "overlapping": ("a.srt", cue(1, 1, 4, "a") + cue(2, 2, 3, "b"), [(1, 4, "a"), (2, 3, "b")]),
    "a mark within": ("a.srt", cue(1, 1, 2, "a") + "\ufeff" + cue(2, 3, 4, "b"), "ab"),
    "vtt named srt": ("a.srt", "WEBVTT\n\nNOTE x\n\n00:01.000 --> 00:02.000\na\n\n00:03.000 --> 00:04.000\nb\n", "ab"),
    "srt named vtt": ("a.vtt", cue(1, 1, 2, "a") + cue(2, 3, 4, "b"), "ab"),
    "blocks": (
        "a.vtt",
        "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n\nSTYLE\n::cue { color: red }\n\nREGION\nid:x\n\n"
        "NOTE one\ntwo\n\nname\n00:01.000 --> 00:02.000 line:0\n<v.loud Ann>a\n\nNOTE three\n\nother name\n"
        "00:03.000 --> 00:04.000\n<c.red>b</c>\n\nNOTE the end\n",
        "ab",
    ),
    "a text like a comment": (
        "a.vtt",
        "WEBVTT\n\n00:01.000 --> 00:02.000\nNOTE that\nit rains\n\n00:03.000 --> 00:04.000\nSTYLE\n",
        [(1, 2, "NOTE that it rains"), (3, 4, "STYLE")],
    ),
    "a text like a number": (
        "a.vtt",
        "WEBVTT\n\n1\n00:01.000 --> 00:02.000\na\n2\n\n00:03.000 --> 00:04.000\nb\n",
        [(1, 2, "a 2"), (3, 4, "b")],
    ),
    "segments joined": (
        "a.vtt",
        "WEBVTT\n\n00:01.000 --> 00:02.000\na\nWEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\n"
        "00:03.000 --> 00:04.000\nb\n\nWEBVTT - the end\n",
        "ab",
    ),
    "SBV": ("a.sbv", "0:00:01.000,0:00:02.000\na\n\n0:00:03.000,0:00:04.000\nb\n", "ab"),
    "ASS": (
        "a.ass",
        "[Script Info]\nTitle: x\n\n[Events]\nFormat: Start, End, Layer, Text\n"
        "Dialogue: 0:00:01.00,0:00:02.00,0,{\\i1}a, {\\i0}first\\Nline <b> & so\n"
        "Comment: 0:00:01.00,0:00:02.00,0,not shown\nDialogue: 0:00:03.00,0:00:04.00,0,{\\p1}m 0 0 l 9 9{\\p0}\n",
        [(1, 2, "a, first line <b> & so")],
    ),
    "TTML": (
        "a.ttml",
        '<?xml version="1.0"?>\n<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter"'
        ' ttp:frameRate="25"><head/><body begin="1s"><div><p begin="0s" dur="00:00:01.000">a <span>d<b>o</b>g</span>'
        '<metadata>x</metadata><br/>barks &lt;b&gt;</p><p begin="00:00:02:05" end="3.5s">b</p></div></body></tt>',
        [(1, 2, "a dog barks <b>"), (3.2, 4.5, "b")],
    ),
    "DFXP": (
        "a.dfxp",
        '<tt xmlns="http://www.w3.org/2006/10/ttaf1"><body><div><p begin="00:00:01.000" end="00:00:02.000">a</p>'
        '<p begin="3000ms" end="4000ms">b</p></div></body></tt>',
        "ab",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_players_accept(tmp_path, name):
    file, text, expected = FILES[name]
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16"), text.encode("utf-16-be")):
        (tmp_path / file).write_bytes(data)
        cues, faults = read_cues(tmp_path / file)
        if isinstance(expected, str):
            expected = [(1, 2, expected[0]), (3, 4, expected[1])]
        assert [(one.start_s, one.stop_s, one.text) for one in cues] == expected
        assert faults == []


@pytest.mark.parametrize(
    ("file", "text", "n_cues", "reason"),
    [
        ("a.srt", "hello\n\n" + cue(1, 1, 2, "a"), 1, "line 1: 'hello' stands before the first cue"),
        ("a.srt", cue(1, 1, 2, "a") + "2\n00:00:0x,000 --> 00:00:04,000\nb\n", 1, "line 6: '00:00:0x,000' is no time"),
        ("a.srt", cue(1, 1, 2, "a") + "2\n-00:00:03,000 --> 00:00:04,000\nb\n", 1, "line 6: .* is no time"),
        ("a.srt", cue(1, 1, 2, "a") + "2\n00:00:03,000 -> 00:00:04,000\nb\n", 1, "line 6: .* is no time"),
        ("a.srt", cue(1, 1, 2, "a") + "2\n00:00:03,000 -->\nb\n", 1, "line 6: .* is no time"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000 lost\n\n", 0, "line 2: 'lost' stands behind the times"),
        ("a.srt", cue(1, 1, 2, "a") + cue(2, 3, 3, "b"), 1, "line 6: .*stops before it starts"),
        ("a.srt", cue(1, 1, 2, "a") + cue(2, 3, 4, "b\ufffd"), 1, r"line 6: .*U\+FFFD"),
        ("a.srt", cue(1, 1, 2, "a") + cue(2, 3, 4, "b&#0;"), 1, r"line 6: .*U\+FFFD"),
        ("a.srt", cue(1, 1, 2, "a") + cue(2, 3, 4, f"&#{'9' * 5000};"), 1, "line 6: an entity"),
        ("a.vtt", "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:1\n\n" + cue("", 1, 2, "a"), 1, ""),
        (
            "a.vtt",
            "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:01:00.000,MPEGTS:1\n\n" + cue("", 1, 2, "a"),
            1,
            "line 2: .*shifted",
        ),
        ("a.ass", "[Events]\nDialogue: 0,0:0x:00.00,0:00:02.00,,,,,,,a\n", 0, "line 2: '0:0x:00.00' is no time"),
        ("a.ass", "[Events]\nDialogue: short\n", 0, "line 2: it has 1 fields"),
        ("a.ttml", "<tt><body><p begin='1s'>a</p></body></tt>", 0, "line 1: the paragraph has no end"),
        ("a.ttml", "<tt><body><p begin='10t' end='20t'>a</p></body></tt>", 0, "line 1: '10t' counts ticks"),
        ("a.ttml", "<tt><body>\n<p begin='1s' end='2s'>a</p>", 1, "line 2: it is no valid XML"),
        ("a.ttml", "<tt>" + "<div>" * 50_000, 0, "nested more than 100 deep"),
        ("a.ttml", '<!DOCTYPE tt [<!ENTITY a "x">]><tt><p begin="1s" end="2s">&a;</p></tt>', 0, "declares entities"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(tmp_path, file, text, n_cues, reason):
    (tmp_path / file).write_text(text)
    cues, faults = read_cues(tmp_path / file)
    assert len(cues) == n_cues
    assert len(faults) == bool(reason) and re.search(reason, "".join(faults))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{0}{25}a\n", r"counts frames \(MicroDVD\)"),
        ("<SAMI><BODY><SYNC Start=0><P>a</SAMI>", "SAMI"),
        (cue(1, 1, 2, "le café fume").encode("windows-1252"), r"no UTF-8 \(byte 0xE9 in line 3\): save it in UTF-8"),
        (cue(1, 1, 2, "a").encode("utf-16")[:-1], "damaged UTF-16"),
    ],
)
def test_files_of_other_kinds_are_said(tmp_path, text, reason):
    (tmp_path / "a.srt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=reason):
        read_cues(tmp_path / "a.srt")


ROLLING = """WEBVTT
Kind: captions

00:00:01.000 --> 00:00:02.000 align:start position:0%
 \nwater<00:00:01.200><c> runs</c><00:00:01.500><c> now</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
water runs now
 \n
00:00:02.010 --> 00:00:04.000 align:start position:0%
water runs now
water<00:00:02.500><c> runs</c><00:00:03.000><c> now</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
water runs now
 \n
00:00:04.010 --> 00:00:06.000 align:start position:0%
water runs now
a tap

"""


def test_rolling_captions_have_each_word_once(tmp_path):
    expected = [Cue(1, 2, "water runs now"), Cue(2.01, 4, "water runs now"), Cue(4.01, 6, "a tap")]
    (tmp_path / "a.vtt").write_text(ROLLING)
    assert read_cues(tmp_path / "a.vtt") == (expected, [])
    stamps = [(1, 2), (2, 2.01), (2.01, 4), (4, 4.01), (4.01, 6)]
    texts = ["water", "water", "water\nruns", "runs", "runs\na tap"]
    blocks = [
        f"{n}\n00:00:0{a:.3f} --> 00:00:0{b:.3f}\n{text}\n\n"
        for n, ((a, b), text) in enumerate(zip(stamps, texts, strict=True))
    ]
    (tmp_path / "a.srt").write_text("".join(blocks))
    assert read_cues(tmp_path / "a.srt") == ([Cue(1, 2, "water"), Cue(2.01, 4, "runs"), Cue(4.01, 6, "a tap")], [])


def test_other_captions_may_repeat(tmp_path):
    (tmp_path / "a.srt").write_text(cue(1, 1, 2, "yes") + cue(2, 2, 3, "yes") + cue(3, 3, 4, "yes"))
    assert [one.text for one in read_cues(tmp_path / "a.srt")[0]] == ["yes"] * 3


WORDS = st.text(st.sampled_from("abc é,.'!?-"), min_size=1, max_size=20).filter(lambda text: text.strip(" -"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=5), st.sampled_from(["srt", "webvtt"]))
def test_ordinary_files_are_read_as_ffmpeg_does(texts, kind):
    stamp = "00:00:{:02}.000 --> 00:00:{:02}.500"
    blocks = [f"{n + 1}\n{stamp.format(n, n + 1)}\n" + "\n".join(lines) for n, lines in enumerate(texts)]
    text = "\n\n".join(blocks) + "\n"
    text = "WEBVTT\n\n" + text if kind == "webvtt" else text.replace(".000 -->", ",000 -->").replace(".500\n", ",500\n")
    with av.open(io.BytesIO(text.encode()), format=kind) as container:
        stream = container.streams.subtitles[0]
        expected = [
            (float(packet.pts * stream.time_base), " ".join(bytes(packet).decode().split()))
            for packet in container.demux(stream)
            if packet.size
        ]
    cues, faults = read_cue_lines(text)
    assert [(one.start_s, words_of(one.lines)) for one in cues] == expected
    assert faults == []
