"""The reader `msvd` on files of the published format."""

import pytest

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.config.records import CONFIGS, load
from stages.ingest.command import READERS

CLIPS = ("mv89psg6zh4_33_46", "-4wsuPCjDBc_5_15", "_UqwmnfnxCk_10_20")
TEXT = f"""# Descriptions in English
#
{CLIPS[0]} A bird in a sink keeps getting under the running water.

{CLIPS[0]} A bird is bathing.
{CLIPS[1]} A squirrel is eating a peanut
notes are not captions
{CLIPS[1]}
{CLIPS[2]} Someone plays.
"""


@pytest.fixture
def folder(project, tmp_path):
    for name in ("annotations", "media/YouTubeClips"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "annotations" / "AllVideoDescriptions.txt").write_text(TEXT)
    (tmp_path / "annotations" / "test_list.txt").write_text(f"{CLIPS[0]}\n{CLIPS[2]}\n")
    for clip in CLIPS[:2]:
        (tmp_path / "media" / "YouTubeClips" / f"{clip}.avi").touch()
    return tmp_path


def read(folder):
    config = load(CONFIGS / "corpora" / "msvd.yaml", CorpusConfig)
    return READERS["msvd"](CorpusPlace(media=folder / "media", annotations=folder / "annotations"), config)


def test_lines_are_captions_and_lists_are_subsets(folder):
    found = read(folder)
    assert [(clip.id, clip.frames[0].media.name) for clip in found.clips] == [(id, f"{id}.avi") for id in CLIPS[:2]]
    assert [caption.text for caption in found.captions] == [
        "A bird in a sink keeps getting under the running water.",
        "A bird is bathing.",
        "A squirrel is eating a peanut",
    ]
    assert found.subsets == [("test", "clip", CLIPS[0]), ("test", "clip", CLIPS[2])]
    assert [reason for _, _, reason in found.faults] == [
        "AllVideoDescriptions.txt line 7: 'notes' is not ID_START_STOP of a clip",
        "AllVideoDescriptions.txt line 8: a caption is empty",
    ]
    notes = " | ".join(found.notes)
    assert "subset train is left out" in notes and "1 of 2 (test) clips" in notes
    assert "2 clips of subset test, published are 670" in notes and "3 clips, published are 1,970" in notes


def test_other_files_are_refused(folder):
    path = folder / "annotations" / "AllVideoDescriptions.txt"
    path.write_text("some text\n")
    with pytest.raises(UserError, match="has no line `ID_START_STOP caption`"):
        read(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"AllVideoDescriptions\.txt is missing: get MSVD from cs\.utexas"):
        read(folder)
