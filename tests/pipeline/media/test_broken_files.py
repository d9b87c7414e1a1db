"""Everything a folder of downloads holds that is no whole media file: each gives a sentence, never a traceback."""

import builtins
import os

import numpy as np
import pytest
import soundfile
from media_samples import cut_short, damage, frame_number, noise, numbered_frames, tone, write_media

from pipeline.media.audio import extract_audio
from pipeline.media.containers import MediaError
from pipeline.media.frames import read_frames
from pipeline.media.probe import probe


def reasons(path):
    """What each way of reading a file says about it, None where it works."""
    target = path.parent / "out" / "out.flac"
    target.unlink(missing_ok=True)
    found = []
    for read in (
        lambda: probe(path),
        lambda: extract_audio(path, target),
        lambda: list(read_frames(path, [0.0])),
    ):
        try:
            read()
            found.append(None)
        except MediaError as error:
            found.append(error.reason)
    assert target.exists() == (found[1] is None)
    return found


def test_empty(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"")
    assert reasons(path) == ["empty file (0 bytes)"] * 3


def test_missing(tmp_path):
    assert reasons(tmp_path / "a.mp4") == ["file not found"] * 3
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    assert reasons(tmp_path / "link.mp4") == ["file not found"] * 3


def test_a_directory(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    assert reasons(tmp_path / "a.mp4") == [
        "is a directory without numbered images",
        "is a directory",
        "is a directory",
    ]


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    assert reasons(tmp_path / "a.mp4") == ["not a regular file"] * 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mp4", b"This is a text and no video.\n" * 50),
        ("a.wav", b"<html><body>404 Not Found</body></html>"),
        ("a.txt", b"A text that FFmpeg would draw as a picture.\n" * 50),
        ("a.mp3", np.random.default_rng(5).bytes(400)),
        ("a.mp4", b"\0" * 5000),
        ("a.srt", b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n"),
    ],
)
def test_no_media(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    for reason in reasons(path):
        assert reason.startswith(
            ("not a media file (", "no audio track", "no video track", "no audio could be decoded")
        )


def test_no_permission(tmp_path, monkeypatch):
    path = write_media(tmp_path / "a.wav", samples=noise(1, 8000), sample_rate=8000)
    if os.geteuid() == 0:
        real_open = builtins.open

        def refuse(file, *args, **kwargs):
            if str(file) == str(path):
                raise PermissionError(13, "Permission denied")
            return real_open(file, *args, **kwargs)

        monkeypatch.setattr(builtins, "open", refuse)
    else:
        path.chmod(0)
    assert reasons(path) == ["no permission to read"] * 3


def test_an_mp4_without_its_index(tmp_path):
    path = cut_short(write_media(tmp_path / "a.mp4", samples=noise(2, 48000), frames=numbered_frames(50)), 0.6)
    assert reasons(path) == ["truncated: the index of the mp4 file (moov) is missing"] * 3


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".mp4", {"container_options": {"movflags": "faststart"}}),
        (".mkv", {}),
        (".webm", {}),
        (".avi", {"audio_codec": "pcm_s16le"}),
        (".mov", {"container_options": {"movflags": "faststart"}}),
    ],
)
def test_a_video_cut_short_gives_what_is_there(tmp_path, ending, options):
    source = write_media(tmp_path / f"a{ending}", samples=noise(10, 48000), frames=numbered_frames(250), **options)
    cut_short(source, 0.5)
    made = extract_audio(source, tmp_path / "out.flac")
    assert 3 < made.n_samples / 48000 < 6
    assert "truncated: " in made.warning
    assert made.warning.endswith(" s decoded")
    numbers = [frame_number(image) for _, image in read_frames(source, [0.0, 1.0, 2.0, 9.9, 99.0])]
    assert numbers[:3] == [0, 25, 50]
    assert 75 < numbers[3] < 150
    assert numbers[4] == numbers[3]


@pytest.mark.parametrize(
    ("ending", "codec"), [(".wav", "pcm_s16le"), (".wav", "adpcm_ima_wav"), (".flac", "flac"), (".mp3", "libmp3lame")]
)
def test_a_sound_cut_short_gives_what_is_there(tmp_path, ending, codec):
    source = cut_short(write_media(tmp_path / f"a{ending}", samples=noise(10, 48000), audio_codec=codec), 0.5)
    made = extract_audio(source, tmp_path / "out.flac")
    assert made.n_samples / 48000 == pytest.approx(5, abs=0.3)
    assert f"truncated: {made.n_samples / 48000:.1f} s of 10.0 s decoded" in made.warning


@pytest.mark.parametrize("claim", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_written_into_a_pipe_is_not_truncated(tmp_path, claim):
    source = write_media(tmp_path / "a.wav", samples=noise(2, 8000), sample_rate=8000)
    data = source.read_bytes()
    place = data.index(b"data") + 4
    size = claim.to_bytes(4, "little")
    source.write_bytes(data[:4] + size + data[8:place] + size + data[place + 4 :])
    made = extract_audio(source, tmp_path / "out.flac")
    assert (made.n_samples, made.warning) == (16000, None)


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".mp4", {"frames": 250}),
        (".mp4", {"frames": 250, "container_options": {"movflags": "faststart"}}),
        (".mkv", {"frames": 250}),
        (".mkv", {"frames": 250, "audio_codec": "flac"}),
        (".webm", {"frames": 250}),
        (".ogg", {}),
        (".m4a", {}),
        (".flac", {}),
    ],
)
def test_damage_in_the_middle_keeps_the_time_of_the_rest(tmp_path, ending, options):
    if "frames" in options:
        options = {**options, "frames": numbered_frames(options["frames"])}
    wave = tone(10, 48000, 440) * 0.2
    wave[9 * 48000 : 9 * 48000 + 480] = 0.9
    wave[9 * 48000 + 480 : 9 * 48000 + 960] = -0.9
    source = damage(write_media(tmp_path / f"a{ending}", samples=wave, **options), 0.4, 0.5)
    made = extract_audio(source, tmp_path / "out.flac")
    samples = soundfile.read(tmp_path / "out.flac")[0]
    peak = np.argmax(np.abs(samples) > 0.6) / 48000
    assert peak == pytest.approx(9, abs=0.01)
    assert "skipped" in made.warning or "missing, filled with silence" in made.warning
    if "frames" in options:
        numbers = [frame_number(image) for _, image in read_frames(source, [1.0, 9.0, 9.5])]
        assert numbers[0] == 25
        assert abs(numbers[2] - 237) <= 1


def test_damage_in_an_mp3_is_survived(tmp_path):
    source = damage(write_media(tmp_path / "a.mp3", samples=noise(10, 48000)), 0.4, 0.5)
    made = extract_audio(source, tmp_path / "out.flac")
    assert 8 < made.n_samples / 48000 <= 10.1
    assert made.warning


def test_video_without_sound(tmp_path):
    path = write_media(tmp_path / "a.mp4", frames=numbered_frames(10))
    assert reasons(path) == [None, "no audio track", None]
    assert probe(path).audio is None


def test_sound_without_picture(tmp_path):
    path = write_media(tmp_path / "a.m4a", samples=noise(1, 48000))
    assert reasons(path) == [None, None, "no video track"]


def test_zero_duration(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 1)), 8000)
    assert reasons(tmp_path / "a.wav")[:2] == ["zero duration"] * 2
    path = write_media(tmp_path / "a.flac", samples=np.zeros((0, 1), np.float32))
    assert reasons(path)[:2] == ["zero duration"] * 2


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_a_sound_track_without_a_single_packet(tmp_path, ending):
    path = write_media(tmp_path / f"a{ending}", samples=np.zeros((0, 1), np.float32), frames=numbered_frames(10))
    assert reasons(path)[0] is None
    assert reasons(path)[1] in ("zero duration", "no audio track")


def test_all_of_the_sound_is_broken(tmp_path):
    path = damage(write_media(tmp_path / "a.m4a", samples=noise(3, 48000)), 0.002, 0.9)
    assert reasons(path)[1] is None or reasons(path)[1].startswith(
        ("no audio could be decoded", "not a media", "trunc")
    )


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".mp4", {"container_options": {"movflags": "faststart"}}),
        (".mkv", {}),
        (".webm", {}),
        (".avi", {}),
        (".ts", {"video_codec": "mpeg2video", "audio_codec": "mp2"}),
        (".flv", {"video_codec": "libx264", "audio_codec": "aac"}),
    ],
)
def test_whatever_bytes_are_wrong(tmp_path, ending, options):
    """Reading works or raises a MediaError."""
    whole = write_media(
        tmp_path / f"whole{ending}",
        samples=noise(1, 16000),
        sample_rate=16000 if ending != ".ts" else 48000,
        frames=numbered_frames(25, 48, 32),
        **options,
    ).read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / f"a{ending}"
    for _ in range(60):
        data = bytearray(whole)
        for place in random.integers(0, len(data) if random.random() < 0.5 else 600, random.integers(1, 30)):
            data[place] = random.integers(0, 256)
        path.write_bytes(bytes(data[: random.integers(1, len(data) + 1)] if random.random() < 0.3 else data))
        reasons(path)


def test_ffmpeg_prints_nothing(tmp_path, capfd):
    for number, ending in enumerate([".mp4", ".mkv", ".mp3"]):
        path = write_media(tmp_path / f"{number}{ending}", samples=noise(2, 48000))
        capfd.readouterr()
        damage(path, 0.3, 0.9)
        reasons(path)
        assert capfd.readouterr() == ("", "")
