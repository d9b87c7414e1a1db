import gc
import os
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_samples import corner_frame, corners, frame_number, noise, numbered_frames, write_media

from pipeline.media import frames as frames_module
from pipeline.media.containers import MediaError
from pipeline.media.frames import middle_times, read_frames
from pipeline.media.numbered_frames import read_numbered

FORMATS = {
    "mp4": (".mp4", {"b_frames": 2}),
    "mp4 fragmented": (".mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "mp4 open gop": (".mp4", {"b_frames": 3, "video_options": {"x264-params": "open-gop=1:scenecut=0"}}),
    "mp4 long gop": (".mp4", {"b_frames": 3, "key_every": 250}),
    "mp4 hevc": (".mp4", {"video_codec": "libx265", "b_frames": 2, "video_options": {"x265-params": "log-level=none"}}),
    "mov": (".mov", {"b_frames": 2}),
    "mkv": (".mkv", {"b_frames": 2}),
    "mkv ffv1": (".mkv", {"video_codec": "ffv1", "audio_codec": "flac"}),
    "webm": (".webm", {}),
    "webm vp9": (".webm", {"video_codec": "libvpx-vp9", "video_options": {"deadline": "realtime", "cpu-used": "8"}}),
    "webm live": (".webm", {"container_options": {"live": "1"}}),
    "avi": (".avi", {}),
    "avi mjpeg": (".avi", {"video_codec": "mjpeg", "pixel_format": "yuvj420p"}),
    "ts": (".ts", {"video_codec": "libx264", "audio_codec": "aac", "b_frames": 2}),
    "ts mpeg2": (".ts", {"video_codec": "mpeg2video", "audio_codec": "mp2", "b_frames": 2}),
    "flv": (".flv", {"video_codec": "libx264", "audio_codec": "aac"}),
}
COUNT = 500


@pytest.fixture(scope="module", params=list(FORMATS))
def film(request, tmp_path_factory):
    """20 s of numbered frames at 25 per second, with sound that starts with them."""
    ending, options = FORMATS[request.param]
    path = tmp_path_factory.mktemp("film") / f"film{ending}"
    return write_media(path, samples=noise(20, 48000) * 0.1, frames=numbered_frames(COUNT, 96, 32), **options)


def inside_each(path):
    """A time within each frame of a film, by the timestamps of the file itself."""
    with av.open(str(path)) as container:
        starts = [stream.start_time * stream.time_base for stream in container.streams if stream.start_time is not None]
        shown = [float(frame.pts * frame.time_base - min(starts)) for frame in container.decode(video=0)]
    assert len(shown) == COUNT
    assert shown == pytest.approx((np.arange(COUNT) / 25 + shown[-1] - (COUNT - 1) / 25).tolist(), abs=0.06)
    return [(one + other) / 2 for one, other in pairwise([*shown, shown[-1] + 0.04])]


def numbers(path, times_s, **options):
    found = {index: frame_number(image) for index, image in read_frames(path, times_s, **options)}
    return [found[index] for index in range(len(times_s))]


def test_every_frame_in_every_format(film):
    assert numbers(film, inside_each(film)) == list(range(COUNT))


def test_jumps_give_the_same_frames_as_reading_through(film, monkeypatch):
    random = np.random.default_rng(0)
    inside = inside_each(film)
    for count in (1, 2, 5, 20):
        wanted = random.integers(0, COUNT, count).tolist()
        times = [inside[number] for number in wanted]
        assert numbers(film, times) == wanted
        monkeypatch.setattr(frames_module, "AHEAD_S", 0.3)
        assert numbers(film, times) == wanted
        monkeypatch.undo()


def test_frames_by_number(film):
    """RgbImage n is the n-th that decoding the whole file puts out."""
    wanted = [1, 2, 250, 251, 497, 499, 500]
    found = {index: frame_number(image) for index, image in read_numbered(film, [*wanted, 0, 501])}
    assert found == {index: number - 1 for index, number in enumerate(wanted)}
    clamped = {index: frame_number(image) for index, image in read_numbered(film, [-3, 7, 9999], clamp=True)}
    assert clamped == {0: 0, 1: 6, 2: 499}


def test_pixels_do_not_depend_on_the_way_there(film):
    inside = inside_each(film)
    last = dict(read_frames(film, [inside[470]]))[0]
    every = dict(read_frames(film, inside[:471]))[470]
    assert np.array_equal(last, every)


def test_timestamps_out_of_order(tmp_path):
    """MPEG program streams with several frames in a packet have some."""
    path = write_media(
        tmp_path / "a.mpg", frames=numbered_frames(COUNT, 96, 32), video_codec="mpeg2video", key_every=12, b_frames=2
    )
    found = numbers(path, [(number + 0.5) / 25 for number in range(COUNT)])
    assert np.abs(np.array(found) - np.arange(COUNT)).max() <= 3


def test_before_the_start_and_past_the_end(film):
    assert numbers(film, [-5.0, 25.0, 1e9]) == [0, COUNT - 1, COUNT - 1]


@pytest.fixture(scope="module")
def film_mp4(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_media(path, frames=numbered_frames(COUNT, 96, 32), b_frames=2, key_every=50)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 25), max_size=8))
def test_any_times_in_any_order(film_mp4, times):
    expected = [min(max(int(np.floor(time_s * 25 + 25e-6)), 0), COUNT - 1) for time_s in times]
    assert numbers(film_mp4, times) == expected


def test_a_frame_is_shown_from_its_own_time_on(film_mp4):
    assert numbers(film_mp4, [2 - 1e-3, 2.0, 2.039, 2.04]) == [49, 50, 50, 51]
    assert numbers(film_mp4, [np.nextafter(2.0, 0.0)]) == [50], "times are floats: a hair too early is on time"
    exact = [number * float(Fraction(1, 25)) for number in range(COUNT)]
    assert numbers(film_mp4, exact) == list(range(COUNT))


def test_ntsc_times(tmp_path):
    path = write_media(tmp_path / "a.mp4", frames=numbered_frames(120, 96, 32), rate=Fraction(30000, 1001))
    assert numbers(path, [number * 1001 / 30000 for number in range(120)]) == list(range(120))


def test_pictures_come_in_the_order_of_their_times(film_mp4):
    assert [index for index, _ in read_frames(film_mp4, [9.0, 1.0, 5.0, 1.0])] == [1, 3, 2, 0]


def test_equal_times_give_arrays_of_their_own(film_mp4):
    first, second = (image for _, image in read_frames(film_mp4, [1.0, 1.0]))
    assert np.array_equal(first, second)
    first[:] = 0
    assert second.any()
    assert first.dtype == np.uint8
    assert first.shape == (32, 96, 3)
    assert first.flags.c_contiguous


def test_no_times_no_frames(film_mp4):
    assert list(read_frames(film_mp4, [])) == []


def test_times_that_are_no_numbers_are_refused(film_mp4):
    with pytest.raises(ValueError, match="finite"):
        list(read_frames(film_mp4, [1.0, float("nan")]))


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov"])
def test_a_variable_frame_rate_is_honoured(tmp_path, ending):
    times = [0.0, 0.04, 0.5, 0.54, 2.0, 2.033, 5.0, 9.0]
    path = write_media(tmp_path / f"a{ending}", frames=numbered_frames(8, 96, 32), frame_times_s=times)
    wanted = [0.03, 0.3, 0.51, 1.9, 2.01, 4.99, 5.01, 8.9, 9.01]
    assert numbers(path, wanted) == [0, 1, 2, 3, 4, 5, 6, 6, 7]


def test_picture_that_starts_after_the_sound(tmp_path):
    path = write_media(
        tmp_path / "a.mkv",
        samples=noise(4, 48000),
        audio_codec="pcm_s16le",
        frames=numbered_frames(25, 96, 32),
        frame_times_s=[2 + number / 25 for number in range(25)],
    )
    assert numbers(path, [0.0, 1.0, 2.02, 2.5, 2.99]) == [0, 0, 0, 12, 24]


def test_threads_change_nothing(film_mp4):
    times = middle_times(0, 20, 30)
    assert numbers(film_mp4, times, threads=4) == numbers(film_mp4, times)


def test_a_file_is_opened_once_and_jumped_through(film_mp4, monkeypatch):
    opened, decoded = [], []
    real_open, real_decoded = av.open, frames_module.decoded

    def counted_open(*args, **kwargs):
        opened.append(args)
        return real_open(*args, **kwargs)

    def counted(container, stream):
        for frames, fault in real_decoded(container, stream):
            decoded.extend(frames)
            yield frames, fault

    monkeypatch.setattr(av, "open", counted_open)
    monkeypatch.setattr(frames_module, "decoded", counted)
    assert numbers(film_mp4, [0.0, 10.02, 18.02]) == [0, 250, 450]
    assert len(opened) == 1
    assert len(decoded) < 100, "what lies between is not decoded"
    decoded.clear()
    list(read_frames(film_mp4, middle_times(0, 20, 200)))
    assert len(decoded) <= COUNT + 50, "no frame is decoded twice where every part of the file is wanted"


def test_a_long_gop_is_not_decoded_over_and_over(tmp_path, monkeypatch):
    path = write_media(
        tmp_path / "a.mkv", frames=numbered_frames(1000, 96, 32), key_every=1000, video_options={"preset": "ultrafast"}
    )
    decoded = []
    real_decoded = frames_module.decoded

    def counted(container, stream):
        for frames, fault in real_decoded(container, stream):
            decoded.extend(frames)
            yield frames, fault

    monkeypatch.setattr(frames_module, "decoded", counted)
    times = middle_times(0, 40, 10)
    assert numbers(path, times) == [int(time_s * 25) for time_s in times]
    assert len(decoded) < 2000


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_rotation_is_applied(tmp_path, ending, degrees):
    path = write_media(tmp_path / f"a{ending}", frames=[corner_frame(64, 48)] * 3, rotation=-degrees)
    ((_, image),) = read_frames(path, [0.0])
    assert corners(image) == {0: "RGBW", 90: "BRWG", 180: "WBGR", 270: "GWRB"}[degrees]
    assert image.shape == ((48, 64, 3) if degrees % 180 == 0 else (64, 48, 3))


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [
        ("ffv1", "yuv422p10le"),
        ("ffv1", "yuv444p"),
        ("ffv1", "bgra"),
        ("ffv1", "rgb48le"),
        ("ffv1", "yuva420p"),
        ("rawvideo", "uyvy422"),
        ("libx264", "yuv444p"),
    ],
)
def test_pixel_formats(tmp_path, codec, pixel_format):
    path = write_media(tmp_path / "a.mkv", frames=[corner_frame()] * 2, video_codec=codec, pixel_format=pixel_format)
    ((_, image),) = read_frames(path, [0.0])
    assert corners(image) == "RGBW"
    assert np.abs(image[10, 10].astype(int) - (255, 0, 0)).max() < 12


def test_grey_is_grey(tmp_path):
    path = write_media(tmp_path / "a.mkv", frames=numbered_frames(2), video_codec="ffv1", pixel_format="gray")
    assert numbers(path, [0.05]) == [1]


def test_odd_sizes(tmp_path):
    image = corner_frame(65, 49)
    path = write_media(tmp_path / "a.mkv", frames=[image] * 2, video_codec="ffv1", pixel_format="yuv420p")
    ((_, read),) = read_frames(path, [0.0])
    assert read.shape == (49, 65, 3)
    assert corners(read) == "RGBW"


def test_interlaced(tmp_path):
    path = write_media(
        tmp_path / "a.mpg", frames=numbered_frames(25), video_codec="mpeg2video", interlaced=True, samples=None
    )
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    assert numbers(path, [0.02, 0.5]) == [0, 12]


@pytest.mark.parametrize(("ending", "codec", "pixel_format"), [(".png", "png", "rgb24"), (".jpg", "mjpeg", "yuvj444p")])
def test_still_images(tmp_path, ending, codec, pixel_format):
    path = write_media(
        tmp_path / f"a{ending}",
        frames=[corner_frame()],
        video_codec=codec,
        pixel_format=pixel_format,
        container_format="image2",
    )
    images = [image for _, image in read_frames(path, [0.0, 5.0])]
    assert [corners(image) for image in images] == ["RGBW", "RGBW"]


def test_a_raw_stream_without_timestamps(tmp_path):
    path = write_media(tmp_path / "a.h264", frames=numbered_frames(100), video_codec="libx264", container_format="h264")
    assert numbers(path, [0.02, 1.02, 3.5, 9.0]) == [0, 25, 87, 99]


def test_no_picture(tmp_path):
    path = write_media(tmp_path / "a.mp4", samples=noise(1, 48000))
    with pytest.raises(MediaError, match=r"^no video track$"):
        list(read_frames(path, [0.0]))


def test_the_file_is_closed_when_the_reader_stops_early(film_mp4):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        next(read_frames(film_mp4, [0.0, 1.0, 2.0]))
    assert len(os.listdir("/proc/self/fd")) == before


def test_frames_are_freed_without_the_cycle_collector(film_mp4):
    def alive():
        return sum(type(thing) is av.VideoFrame for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        assert sum(1 for _ in read_frames(film_mp4, middle_times(0, 20, 200))) == 200
        next(read_frames(film_mp4, [0.0, 1.0, 2.0]))
        assert alive() == before
    finally:
        gc.enable()


def test_many_files_at_once(film_mp4):
    times = middle_times(0, 20, 9)
    expected = numbers(film_mp4, times)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(lambda _: numbers(film_mp4, times), range(24)))


@given(st.floats(0, 1e4), st.floats(0, 1e3), st.integers(1, 64))
def test_middles(start_s, length_s, count):
    times = middle_times(start_s, start_s + length_s, count)
    assert len(times) == count
    assert times == sorted(times)
    assert all(start_s <= time_s <= start_s + length_s for time_s in times)
    assert np.mean(times) == pytest.approx(start_s + length_s / 2)


def test_middles_by_example():
    assert middle_times(2.0, 6.0, 4) == [2.5, 3.5, 4.5, 5.5]
    with pytest.raises(ValueError, match="count"):
        middle_times(0, 1, 0)
