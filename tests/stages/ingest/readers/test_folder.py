from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.media.location import MediaFolder
from stages.ingest.readers.folder import read


@pytest.fixture
def folder(tmp_path):
    for name in ("b dog.mp4", "a.WAV", "sub/c.mkv", ".hidden.mp4", ".git/x.mp4", "notes.pdf"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def read_folder(folder, annotations="config.yaml", **config):
    return read(CorpusPlace(media=folder, annotations=folder / annotations), CorpusConfig(**config))


def test_media_are_found_by_suffix_in_a_stable_order(folder):
    assert [path.as_posix() for path in MediaFolder(folder).files()] == ["a.WAV", "b dog.mp4", "sub/c.mkv"]
    with pytest.raises(UserError, match="does not exist"):
        MediaFolder(folder / "none").files()


def test_captions_from_file_names(folder):
    found = read_folder(folder, captions_from="filename")
    assert [one.captions for one in found.segments] == [("a",), ("b dog",), ("c",)]


def test_captions_from_text_files(folder):
    (folder / "b dog.txt").write_text("a dog barks\n\na dog\na dog\n")
    found = read_folder(folder, captions_from="text")
    assert [one.captions for one in found.segments] == [(), ("a dog barks", "a dog"), ()]


def test_a_text_is_cut_at_line_ends_alone(folder):
    (folder / "a.TXT").write_text("one\u2028two\x0cthree\r\nfour\rfive\n", newline="")
    found = read_folder(folder, captions_from="text")
    assert found.segments[0].captions == ("one\u2028two\x0cthree", "four", "five")
    assert found.notes[0] == "2 media files without a text file"


def test_texts_that_cannot_be_read_are_problems(folder):
    (folder / "a.txt").write_bytes("ein Hund läuft\n".encode("windows-1252"))
    (folder / "b dog.txt").write_text("fine\ncaf\ufffd\n")
    (folder / "c.txt").write_bytes("läuft\n".encode("utf-16"))
    (folder / "sub" / "c.mkv").rename(folder / "c.mkv")
    found = read_folder(folder, captions_from="text")
    assert [one.captions for one in found.segments] == [(), ("fine",), ("läuft",)]
    assert [(id, "no UTF-8" in reason or "line 2" in reason) for id, _, reason in found.faults] == [
        ("a.WAV", True),
        ("b dog.mp4", True),
    ]


def test_captions_from_subtitles(folder):
    (folder / "b dog.en.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nwoof\n")
    (folder / "a.vtt").write_text("broken")
    found = read_folder(folder, captions_from="subtitles")
    assert [(one.media.name, one.captions, one.start_s) for one in found.segments] == [
        ("a.WAV", (), None),
        ("b dog.mp4", ("woof",), 1.0),
        ("c.mkv", (), None),
    ]
    assert found.faults[0][0] == "a.WAV" and "no subtitle cue" in found.faults[0][2]


def test_subtitles_may_lie_elsewhere(folder):
    (folder / "subtitles").mkdir()
    for place in ("subtitles", "subtitles/c.srt"):
        (folder / "subtitles" / "c.srt").write_text("00:00:01,000 --> 00:00:02,000\nwoof\n")
        found = read_folder(folder, place, captions_from="subtitles")
        assert found.segments[2].captions == ("woof",)


def test_subtitles_that_are_given_belong_to_a_medium_of_their_name(folder):
    (folder / "subtitles").mkdir()
    for name, n_captions in (("c.en.srt", 1), ("other.srt", 0)):
        (folder / "subtitles" / name).write_text("00:00:01,000 --> 00:00:02,000\nwoof\n")
        found = read_folder(folder, f"subtitles/{name}", captions_from="subtitles")
        assert sum(len(one.captions) for one in found.segments) == n_captions
        assert any("named after none of the media" in one for one in found.notes) == (not n_captions)


def test_srt_comes_before_other_kinds(folder):
    (folder / "a.ass").write_text("[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,,,0,0,0,,ass\n")
    assert read_folder(folder, captions_from="subtitles").segments[0].captions == ("ass",)
    (folder / "a.srt").write_text("00:00:01,000 --> 00:00:02,000\nsrt\n")
    assert read_folder(folder, captions_from="subtitles").segments[0].captions == ("srt",)


def test_which_of_several_subtitles_is_taken_is_said(folder):
    for name in ("c.de.srt", "c.en.srt", "c.2.srt"):
        (folder / "sub" / name).write_text(f"00:00:01,000 --> 00:00:02,000\n{name}\n")
    (folder / "sub" / "c.2.wav").touch()
    found = read_folder(folder, captions_from="subtitles")
    assert [one.captions for one in found.segments] == [(), (), ("c.2.srt",), ("c.de.srt",)]
    assert found.notes[0] == "2 media files without a subtitle file"
    assert "1 media file with several subtitle files" in found.notes[1] and "(c.de.srt)" in found.notes[1]


def test_a_listing_chooses_the_media(folder):
    (folder / "captions.csv").write_text("file,caption\nsub/c.mkv,a cat\nnone.mp4,gone\n")
    found = read_folder(folder, "captions.csv")
    assert [one.media for one in found.segments] == [Path("sub/c.mkv"), Path("none.mp4")]
    assert found.notes[0].startswith("2 media files in")


def test_no_listing_is_said(folder):
    with pytest.raises(UserError, match=r"config\.yaml is no caption listing .*captions_from"):
        read_folder(folder)


def test_a_hop_that_plays_no_part_for_timed_captions_is_said(folder):
    (folder / "captions.csv").write_text("file,caption,start,stop\nb dog.mp4,a dog,0,1\na.WAV,an a,,\n")
    note = "hop_s plays no part for 1 segment with times"
    assert any(note in one for one in read_folder(folder, "captions.csv", hop_s=5).notes)
    for config in ({}, {"hop_s": 5, "clips_from": "windows"}):
        assert not any("hop_s" in one for one in read_folder(folder, "captions.csv", **config).notes)
