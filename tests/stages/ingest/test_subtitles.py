import pytest

from cache.errors import UserError
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
