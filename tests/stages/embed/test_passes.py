import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from media_samples import frame_number, numbered_frames, write_media

from cache.digests import DigestMemory
from stages.embed.clips import Clip, Span
from stages.embed.encoder import FrameInput
from stages.embed.frame_reader import FrameReader, passes

STRETCHES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda one: (one[0], one[0] + one[1])))


def deepest(stretches):
    return max((sum(start <= moment < stop for start, stop in stretches) for moment in range(41)), default=0)


@given(STRETCHES, st.integers(1, 5))
def test_each_part_fits_and_none_is_lost(stretches, most_open):
    parts = passes(stretches, most_open)
    assert sorted(i for part in parts for i in part) == list(range(len(stretches)))
    for part in parts:
        assert deepest([stretches[i] for i in part]) <= most_open
        assert np.all(np.diff([stretches[i][0] for i in part]) >= 0)
    assert (len(parts) == 1) == (0 < deepest(stretches) <= most_open)


def test_clips_that_overlap_too_deeply_get_the_same_frames(tmp_path, monkeypatch):
    video = write_media(tmp_path / "numbers.mp4", frames=numbered_frames(50))
    digest = DigestMemory(None).digest(video)
    clips = [Clip(str(i), (Span(video, digest, i / 10, 2 - i / 20),), "numbers") for i in range(7)]
    read = {}
    for most in (100, 2):
        monkeypatch.setattr("stages.embed.frame_reader.CLIPS_AT_A_TIME", most)
        reader = FrameReader(FrameInput(4), clips)
        read[most] = {row.id: [frame_number(one) for one in frames] for row, frames in reader.read(reader.rows)}
    assert read[2] == read[100] and len(read[2]) == 7
    assert read[2]["0"] == [6, 18, 31, 43]
