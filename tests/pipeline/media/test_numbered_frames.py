import math
from fractions import Fraction

import numpy as np
import pytest
from media_samples import frame_number, noise, numbered_frames, write_media
from PIL import Image

from pipeline.media.containers import MediaError
from pipeline.media.frames import read_frames
from pipeline.media.numbered_frames import frame_times, read_numbered
from pipeline.media.probe import VideoTrack, probe


def numbers(path, wanted, **options):
    return {index: frame_number(image) for index, image in read_numbered(path, wanted, **options)}


def test_variable_frame_rate_counts_pictures_not_seconds(tmp_path):
    gaps = np.random.default_rng(0).choice([1 / 60, 1 / 25, 0.5, 2.0], 120)
    path = write_media(
        tmp_path / "a.mp4", frames=numbered_frames(120, 96, 32), frame_times_s=np.cumsum(gaps).tolist(), rate=25
    )
    assert numbers(path, list(range(1, 121))) == {number: number for number in range(120)}


def test_ntsc_rate_and_sound_that_starts_earlier(tmp_path):
    path = write_media(
        tmp_path / "a.mkv",
        samples=noise(4, 48000),
        frames=numbered_frames(120, 96, 32),
        rate=Fraction(30000, 1001),
        b_frames=3,
    )
    assert numbers(path, [120, 1, 61, 61]) == {1: 0, 2: 60, 3: 60, 0: 119}


def test_only_the_packets_that_matter_are_read(tmp_path):
    path = write_media(tmp_path / "a.mp4", frames=numbered_frames(500, 96, 32))
    assert len(frame_times(path, 10)) == 74
    assert len(frame_times(path, 500)) == len(frame_times(path, 9999)) == 500


def test_a_damaged_end_repeats_the_last_picture_only_if_asked(tmp_path):
    path = write_media(tmp_path / "a.ts", frames=numbered_frames(100, 96, 32), video_codec="libx264", b_frames=0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    last = len(frame_times(path, 999))
    assert 20 < last < 80
    assert numbers(path, [last, last + 1]) == {0: last - 1}
    assert numbers(path, [last + 50], clamp=True) == {0: last - 1}


@pytest.fixture(scope="module")
def folder_and_film(tmp_path_factory):
    """The same pictures as a lossless video and as a folder in EPIC-KITCHENS' manner."""
    root = tmp_path_factory.mktemp("frames")
    film = write_media(root / "P01_01.mkv", frames=numbered_frames(40), video_codec="ffv1", pixel_format="bgr0")
    folder = root / "P01_01"
    folder.mkdir()
    for index, image in read_frames(film, [number / 25 for number in range(40)]):
        Image.fromarray(image).save(folder / f"frame_{index + 1:010d}.jpg", quality=95)
    return folder, film


def test_a_folder_of_frames_is_the_video_it_was_made_from(folder_and_film):
    folder, film = folder_and_film
    wanted = [40, 1, 17, 17, 3]
    stills, moving = dict(read_numbered(folder, wanted)), dict(read_numbered(film, wanted))
    assert set(stills) == set(moving) == set(range(5))
    for index in range(5):
        assert stills[index].shape == moving[index].shape and stills[index].dtype == np.uint8
        assert np.abs(stills[index].astype(int) - moving[index].astype(int)).max() <= 12, "JPEG is lossy"
        assert frame_number(stills[index]) == wanted[index] - 1
    assert numbers(folder, [0, 41, 40]) == {2: 39}
    assert numbers(folder, [0, 41], clamp=True) == {0: 0, 1: 39}


def test_what_a_folder_of_frames_holds(folder_and_film):
    info = probe(folder_and_film[0])
    assert info.audio is None
    assert info.video == VideoTrack(192, 64, 0.0, 0, "still images")
    assert (info.frames, info.duration_s) == ((1, 40), math.inf)
    assert probe(folder_and_film[1]).frames is None


def test_other_files_in_the_folder_play_no_part(tmp_path):
    Image.fromarray(numbered_frames(1)[0]).save(tmp_path / "frame_7.PNG")
    for name in (".frame_1.jpg", "notes 3.txt", "cover.jpg"):
        (tmp_path / name).write_bytes(b"something")
    assert probe(tmp_path).frames == (7, 7)
    assert numbers(tmp_path, [7]) == {0: 0}


def test_a_broken_frame_is_named(tmp_path):
    whole = tmp_path / "frame_0000000001.jpg"
    Image.fromarray(numbered_frames(1)[0]).save(whole)
    (tmp_path / "frame_0000000002.jpg").write_bytes(whole.read_bytes()[:300])
    (tmp_path / "frame_0000000003.jpg").write_bytes(b"")
    for number in (2, 3):
        with pytest.raises(MediaError, match=rf"frame_000000000{number}\.jpg cannot be decoded"):
            list(read_numbered(tmp_path, [number]))


def test_two_pictures_with_one_number(tmp_path):
    for name in ("frame_1.jpg", "frame_01.jpg"):
        Image.fromarray(numbered_frames(1)[0]).save(tmp_path / name)
    with pytest.raises(MediaError, match="two images have the number 1"):
        probe(tmp_path)
