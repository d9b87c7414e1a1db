"""Pictures at a constant rate and size, against FFmpeg's own filters run over the whole file."""

import numpy as np
import pytest
from ffmpeg_filters import filtered
from media_samples import corner_frame, corners, write_media

from pipeline.media.frames import Scaling, read_frames, scaled_size


def noise_film(path, count=50, rate=25, width=96, height=64, **options):
    levels = np.random.default_rng(0).integers(0, 256, (count, -(-height // 8), -(-width // 8), 3)).astype(np.uint8)
    return write_media(
        path, frames=[one.repeat(8, 0).repeat(8, 1)[:height, :width] for one in levels], rate=rate, **options
    )


@pytest.mark.parametrize(
    ("width", "height", "side", "size", "corner"),
    [
        (480, 360, 224, (298, 224), (37, 0)),
        (360, 480, 224, (224, 298), (0, 37)),
        (1280, 720, 224, (398, 224), (87, 0)),
        (426, 240, 224, (397, 224), (86, 0)),
        (256, 256, 224, (224, 224), (0, 0)),
        (480, 360, 112, (149, 112), (18, 0)),
        (1280, 720, 112, (199, 112), (43, 0)),
    ],
)
def test_sizes_and_crops_of_the_original(tmp_path, width, height, side, size, corner):
    assert scaled_size(width, height, side) == size
    path = noise_film(tmp_path / "a.mp4", 1, width=width, height=height)
    ((_, whole),) = read_frames(path, [0.0], convert=Scaling(side))
    ((_, square),) = read_frames(path, [0.0], convert=Scaling(side, crop=True))
    x, y = corner
    assert whole.shape == (size[1], size[0], 3)
    np.testing.assert_array_equal(square, whole[y : y + side, x : x + side])


@pytest.mark.parametrize("options", [{}, {"pixel_format": "yuv444p"}, {"b_frames": 2}], ids=str)
def test_the_pixels_are_those_of_ffmpeg(tmp_path, options):
    path = noise_film(tmp_path / "a.mp4", 8, **options)
    ours = [picture for _, picture in read_frames(path, np.arange(8) / 25, convert=Scaling(48, crop=True))]
    for one, other in zip(ours, filtered(path, ("scale", "72:48"), ("crop", "48:48:12:0")), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_turned_video_is_shown_upright(tmp_path):
    path = write_media(
        tmp_path / "a.mp4", frames=[np.ascontiguousarray(np.rot90(corner_frame(96, 64), -1))] * 3, rotation=90
    )
    ((_, picture),) = read_frames(path, [0.0], convert=Scaling(32))
    assert picture.shape == (32, 48, 3)
    assert corners(picture) == corners(corner_frame(96, 64))


def test_times_after_the_last_picture_have_none_where_they_are_not_wanted(tmp_path):
    path = noise_film(tmp_path / "a.mp4", 10)
    times = [0.0, 0.2, 0.39, 0.41, 5.0]
    assert [index for index, _ in read_frames(path, times)] == [0, 1, 2, 3, 4]
    assert [index for index, _ in read_frames(path, times, past_end=False)] == [0, 1, 2]
