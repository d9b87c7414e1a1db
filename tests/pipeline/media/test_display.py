import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from media_samples import corner_frame, corners, write_media

from pipeline.media.containers import MediaError
from pipeline.media.frames import Turn, read_frames, to_rgb, turn_of

RESERVED, YCGCO = 3, 8


@pytest.mark.parametrize(
    ("degrees", "hflip", "vflip", "shown"),
    [
        (0, False, False, "RGBW"),
        (-90, False, False, "BRWG"),
        (90, False, False, "GWRB"),
        (180, False, False, "WBGR"),
        (0, True, False, "GRWB"),
        (0, False, True, "BWRG"),
    ],
)
def test_turns_and_mirrors(tmp_path, degrees, hflip, vflip, shown):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(corner_frame(), format="rgb24")), *stream.encode()]:
            container.mux(packet)
    ((_, image),) = read_frames(path, [0.0])
    assert corners(image) == shown
    assert image.flags.c_contiguous


@pytest.mark.parametrize(
    ("turn", "degrees"),
    [(Turn(), 0), (Turn(True, flip_x=True), 90), (Turn(False, True, True), 180), (Turn(True, flip_y=True), 270)],
)
def test_degrees_are_clockwise(turn, degrees):
    image = corner_frame()
    assert turn.degrees == degrees
    assert np.array_equal(turn.apply(image), np.rot90(image, -degrees // 90))


def test_a_frame_without_a_matrix_is_not_turned():
    assert turn_of(av.VideoFrame(16, 16, "yuv420p")) == Turn()


@pytest.mark.parametrize("matrix", [("ITU601", 5), ("ITU709", 1), ("SMPTE240M", 7), ("BT2020", 9), ("ITU601", 2)])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("colour", [(200, 60, 30), (20, 180, 90), (30, 40, 220), (128, 128, 128), (255, 255, 255)])
def test_colours_follow_the_matrix_and_range_of_the_frame(matrix, full_range, colour):
    name, code = matrix
    image = np.full((32, 32, 3), colour, np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format="yuv444p", dst_colorspace=name, dst_color_range="JPEG" if full_range else "MPEG"
    )
    frame.colorspace, frame.color_range = code, 2 if full_range else 1
    assert np.abs(to_rgb(frame, VideoReformatter()).astype(int) - image).max() <= 4


def test_a_matrix_that_means_nothing_is_read_as_the_usual_one():
    frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), (200, 60, 30), np.uint8), format="rgb24")
    coded = frame.reformat(format="yuv420p", dst_colorspace="ITU601")
    coded.colorspace = RESERVED
    assert np.abs(to_rgb(coded, VideoReformatter())[16, 16].astype(int) - (200, 60, 30)).max() <= 4


def test_a_matrix_without_a_conversion_is_an_error():
    frame = av.VideoFrame(32, 32, "yuv420p")
    frame.colorspace = YCGCO
    with pytest.raises(MediaError, match="no conversion to RGB from yuv420p"):
        to_rgb(frame, VideoReformatter())


def test_a_change_of_size_midway(tmp_path):
    parts = []
    for number, size in enumerate([(64, 48), (96, 64)]):
        path = tmp_path / f"{number}.h264"
        frames = [corner_frame(*size)] * 10
        parts.append(write_media(path, frames=frames, video_codec="libx264", container_format="h264").read_bytes())
    both = tmp_path / "both.h264"
    both.write_bytes(b"".join(parts))
    shapes = [image.shape for _, image in read_frames(both, [0.1, 0.7])]
    assert shapes == [(48, 64, 3), (64, 96, 3)]
