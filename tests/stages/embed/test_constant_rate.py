"""Clips as pictures at a constant rate, against FFmpeg's filter `fps`."""

import numpy as np
import pytest
from ffmpeg_filters import filtered
from media_samples import frame_number, numbered_frames, write_media

from cache.digests import DigestMemory
from pipeline.media.containers import MediaError
from stages.embed.clips import Clip, Span
from stages.embed.encoder import FrameRate
from stages.embed.frame_reader import FrameReader, FrameStack
from stages.embed.frame_sampling import constant_rate

SIDE = 64
"""Short side of the numbered pictures, so that nothing is scaled."""


def film(path, count, rate, first=0, **options):
    return write_media(path, frames=numbered_frames(count, 192, SIDE, first), rate=rate, **options)


def span(path, start_s, stop_s):
    return Span(path, DigestMemory(None).digest(path), start_s, stop_s)


def read(fps, *clips, crop=False):
    reader = FrameReader(FrameRate(fps, SIDE, crop), [Clip(str(i), spans, "a") for i, spans in enumerate(clips)])
    found = dict(reader.read(reader.rows))
    return [found[row] for row in reader.rows]


def shown(item):
    return [frame_number(picture) for picture in item]


@pytest.mark.parametrize("rate", [10, 24, 25, 30, 60])
@pytest.mark.parametrize("fps", [1, 24])
def test_a_whole_video_has_the_pictures_of_ffmpegs_filter(tmp_path, rate, fps):
    count = rate * 3 + rate // 3
    path = film(tmp_path / "a.mp4", count, rate, b_frames=2)
    (ours,) = read(fps, (span(path, 0.0, count / rate),))
    expected = filtered(path, ("fps", f"fps={fps}"))
    assert shown(ours) == [frame_number(picture) for picture in expected]
    np.testing.assert_array_equal(ours, expected)


def test_a_video_of_variable_rate_too(tmp_path):
    times = np.concatenate(
        [[0.0], np.sort(np.random.default_rng(0).choice(np.arange(1, 300), 59, replace=False)) / 100]
    )
    path = write_media(
        tmp_path / "a.mkv", frames=numbered_frames(60, 192, SIDE), frame_times_s=[time / 100 for time in times]
    )
    (ours,) = read(24, (span(path, 0.0, 3.0),))
    expected = [frame_number(picture) for picture in filtered(path, ("fps", "fps=24"))]
    assert shown(ours)[: len(expected)] == expected
    assert abs(len(ours) - len(expected)) <= 1  # the last picture's length is a guess, in FFmpeg as here


def test_a_clip_counts_from_its_own_start(tmp_path):
    path = film(tmp_path / "a.mp4", 300, 30)
    one, other = read(1, (span(path, 2.0, 5.0),), (span(path, 4.5, 6.0),))
    assert shown(one) == [74, 104, 134]  # the picture before the middle of each second
    assert shown(other) == [149, 179]
    assert len(read(24, (span(path, 1.0, 3.0),))[0]) == 48


def test_the_end_of_the_picture_ends_a_clip_and_the_shortest_has_one(tmp_path):
    path = film(tmp_path / "a.mp4", 90, 30)
    assert shown(read(1, (span(path, 0.0, 60.0),))[0]) == [14, 44, 74]
    assert shown(read(1, (span(path, 1.0, 1.1),))[0]) == [31]
    (nothing,) = read(1, (span(path, 30.0, 32.0),))
    assert isinstance(nothing, MediaError)


def test_a_clip_that_goes_on_in_a_second_file(tmp_path):
    first, second = film(tmp_path / "0.mp4", 90, 30), film(tmp_path / "1.mp4", 90, 30, first=1000)
    (item,) = read(1, (span(first, 1.5, 3.0), span(second, 0.0, 1.5)))
    assert shown(item) == [59, 89, 1029]


def test_a_folder_of_pictures_has_no_rate(tmp_path):
    with pytest.raises(MediaError, match="constant rate"):
        constant_rate(Clip("one", (span(tmp_path, 0.0, 1.0),), "a"), 24)


def test_pictures_beyond_the_memory_they_may_take_are_mapped_from_a_file_and_the_same():
    pictures = np.random.default_rng(0).integers(0, 256, (23, 6, 5, 3)).astype(np.uint8)
    small, large = FrameStack(), FrameStack(most_bytes=5 * pictures[0].nbytes)
    for picture in pictures:
        small.add(picture)
        large.add(picture)
    mapped = large.array()
    assert isinstance(mapped, np.memmap) and not isinstance(small.array(), np.memmap)
    np.testing.assert_array_equal(mapped, pictures)
    with pytest.raises(MediaError, match="differ in size"):
        small.add(pictures[0, :3])
