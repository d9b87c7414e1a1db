import pytest

from cache.errors import UserError
from stages.score.subsets import read_subset

CLIPS = ["dog.mp4", "talk.mp4@0-10", "talk.mp4@10-20", "a@b.wav"]


def write(text):
    from pathlib import Path

    Path("configs/subsets/mine").mkdir(parents=True, exist_ok=True)
    Path("configs/subsets/mine/some.txt").write_text(text)


def test_clips_and_whole_media_can_be_named(project):
    write("# a remark\n\ndog.mp4\n  talk.mp4  \na@b.wav\n")
    assert read_subset("mine", "some", CLIPS) == set(CLIPS)
    write("talk.mp4@10-20\n")
    assert read_subset("mine", "some", CLIPS) == {"talk.mp4@10-20"}


def test_all_needs_no_file(project):
    assert read_subset("mine", "all", CLIPS) == set(CLIPS)


def test_a_medium_that_could_not_be_read_stops_no_subset(project):
    write("dog.mp4\nunreadable.mp4\nlost.mp4\n")
    remarks = []
    assert read_subset("mine", "some", CLIPS, remarks.append) == {"dog.mp4"}
    assert "line 2 names no clip, 'unreadable.mp4'" in remarks[0] and "and 1 more" in remarks[0]


def test_mistakes_are_named(project):
    write("dog.mp3\n")
    with pytest.raises(
        UserError, match=r"names no clip: line 1 names no clip, 'dog\.mp3' \(did you mean 'dog\.mp4'\?\)"
    ):
        read_subset("mine", "some", CLIPS)
    with pytest.raises(UserError, match=r"No subset 'soome' of 'mine' .* did you mean 'some'\?"):
        read_subset("mine", "soome", CLIPS)
    write("# nothing\n")
    with pytest.raises(UserError, match="names no clip"):
        read_subset("mine", "some", CLIPS)
