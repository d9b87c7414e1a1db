import pickle
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media_samples import bursts, corner_frame, noise, numbered_frames, tone, write_media

from pipeline.media.containers import MediaError
from pipeline.media.probe import AudioTrack, VideoTrack, probe

SOUNDS = [
    (".wav", {}, "pcm_s16le"),
    (".wav", {"audio_codec": "pcm_s24le"}, "pcm_s24le"),
    (".wav", {"audio_codec": "pcm_f32le"}, "pcm_f32le"),
    (".wav", {"audio_codec": "pcm_u8"}, "pcm_u8"),
    (".wav", {"audio_codec": "adpcm_ima_wav"}, "adpcm_ima_wav"),
    (".flac", {}, "flac"),
    (".mp3", {}, "mp3"),
    (".mp3", {"container_options": {"write_xing": "0"}}, "mp3"),
    (".ogg", {}, "opus"),
    (".ogg", {"audio_codec": "flac"}, "flac"),
    (".m4a", {}, "aac"),
    (".aac", {"audio_codec": "aac"}, "aac"),
    (".mkv", {"audio_codec": "flac"}, "flac"),
]
VIDEOS = [
    (".mp4", {}, "h264", "aac"),
    (".mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}, "h264", "aac"),
    (".mov", {}, "h264", "aac"),
    (".mkv", {}, "h264", "aac"),
    (".mkv", {"video_codec": "ffv1", "audio_codec": "flac"}, "ffv1", "flac"),
    (".webm", {}, "vp8", "opus"),
    (".avi", {}, "mpeg4", "mp3"),
    (".avi", {"video_codec": "mjpeg", "pixel_format": "yuvj420p", "audio_codec": "pcm_s16le"}, "mjpeg", "pcm_s16le"),
    (".ts", {"video_codec": "mpeg2video", "audio_codec": "mp2"}, "mpeg2video", "mp2"),
]


@pytest.mark.parametrize(("ending", "options", "codec"), SOUNDS)
def test_sounds(tmp_path, ending, options, codec):
    info = probe(write_media(tmp_path / f"a{ending}", samples=tone(2, 48000), **options))
    assert info.audio == AudioTrack(48000, 1, codec)
    assert info.video is None
    assert info.duration_s == pytest.approx(2, abs=0.06)


@pytest.mark.parametrize(("ending", "options", "picture", "sound"), VIDEOS)
def test_videos(tmp_path, ending, options, picture, sound):
    path = write_media(
        tmp_path / f"a{ending}", samples=tone(2, 48000, channels=2), frames=numbered_frames(50, 96, 64), **options
    )
    info = probe(path)
    assert info.audio == AudioTrack(48000, 2, sound)
    assert info.video == VideoTrack(96, 64, pytest.approx(25, abs=0.5), 0, picture)
    assert info.duration_s == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rates_and_channels(tmp_path, rate, channels):
    info = probe(write_media(tmp_path / "a.wav", samples=noise(0.1, rate, channels), sample_rate=rate))
    assert info.audio == AudioTrack(rate, channels, "pcm_s16le")
    assert info.duration_s == pytest.approx(round(0.1 * rate) / rate, abs=1e-9)


def test_one_sample(tmp_path):
    info = probe(write_media(tmp_path / "a.wav", samples=noise(1, 1), sample_rate=192000))
    assert info.duration_s == pytest.approx(1 / 192000)


def test_a_browser_recording_without_a_duration_is_counted(tmp_path):
    path = write_media(
        tmp_path / "a.webm",
        samples=tone(3, 48000),
        frames=numbered_frames(75),
        container_options={"live": "1"},
    )
    with av.open(str(path)) as container:
        assert container.duration is None
    assert probe(path).duration_s == pytest.approx(3, abs=0.05)


def test_raw_streams_are_counted(tmp_path):
    path = write_media(tmp_path / "a.h264", frames=numbered_frames(75), video_codec="libx264", container_format="h264")
    info = probe(path)
    assert info.duration_s == pytest.approx(3, abs=0.05)
    assert info.audio is None
    sound = write_media(tmp_path / "a.aac", samples=bursts(3, 48000, [0.5, 1, 2]), audio_codec="aac")
    with av.open(str(sound)) as container:
        assert abs(container.duration / 1e6 - 3) > 0.2, "FFmpeg's guess is good here: the sample tests nothing"
    assert probe(sound).duration_s == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_clockwise_and_the_size_as_stored(tmp_path, degrees):
    info = probe(write_media(tmp_path / "a.mp4", frames=[corner_frame(64, 48)] * 3, rotation=-degrees))
    assert info.video == VideoTrack(64, 48, 25.0, degrees, "h264")


def test_frame_rate(tmp_path):
    path = write_media(tmp_path / "a.mp4", frames=numbered_frames(30), rate=Fraction(30000, 1001))
    assert probe(path).video.rate == pytest.approx(29.97, abs=0.01)


@pytest.mark.parametrize("ending", [".mp3", ".flac", ".m4a"])
def test_cover_art_is_no_picture(tmp_path, ending):
    path = with_cover(write_media(tmp_path / f"plain{ending}", samples=tone(1, 44100), sample_rate=44100))
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    info = probe(path)
    assert info.video is None
    assert info.audio is not None
    assert info.duration_s == pytest.approx(1, abs=0.06)


def with_cover(plain):
    """The same sound with an attached picture."""
    path = plain.with_name(f"cover{plain.suffix}")
    muxer = "mp4" if plain.suffix == ".m4a" else None
    with av.open(str(plain)) as source, av.open(str(path), "w", format=muxer) as target:
        sound = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(corner_frame(), format="rgb24")
        frame.pts = 0
        target.mux(cover.encode(frame))
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = sound
                target.mux(packet)
    return path


def test_a_still_image_is_a_short_video(tmp_path):
    path = write_media(
        tmp_path / "a.png", frames=[corner_frame()], video_codec="png", pixel_format="rgb24", container_format="image2"
    )
    info = probe(path)
    assert info.video.codec == "png"
    assert (info.video.width, info.video.height) == (64, 48)
    assert 0 < info.duration_s < 1


def test_the_content_counts_not_the_name(tmp_path):
    path = write_media(tmp_path / "a.wav", samples=tone(1, 8000), sample_rate=8000).rename(tmp_path / "a.mp4")
    assert probe(path).audio == AudioTrack(8000, 1, "pcm_s16le")


@pytest.mark.parametrize(
    "name",
    ["with space.wav", "日本語 ñ 🎵.wav", "per%03dcent.wav", "a:b.wav", "http:__x.wav", "-dash.wav", "#[x]*?.wav"],
)
def test_any_name_opens(tmp_path, name):
    path = write_media(tmp_path / "plain.wav", samples=tone(1, 8000), sample_rate=8000).rename(tmp_path / name)
    assert probe(path).duration_s == 1


@pytest.mark.parametrize("name", ["a.wav", "x:y.wav", "concat:a.wav", "-i.wav"])
def test_a_relative_path_opens(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_media(tmp_path / "plain.wav", samples=tone(1, 8000), sample_rate=8000).rename(name)
    assert probe(Path(name)).duration_s == 1


def test_tags_that_are_no_utf8_do_not_matter(tmp_path):
    path = write_media(tmp_path / "a.wav", samples=tone(1, 8000), sample_rate=8000)
    data = path.read_bytes()
    tag = b"INAM\x04\x00\x00\x00\xe9\xff\xfe\x00"
    note = b"LIST" + (4 + len(tag)).to_bytes(4, "little") + b"INFO" + tag
    body = data[8:] + note
    path.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    assert probe(path).duration_s == 1


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(MediaError("no video track")))
    assert (error.reason, str(error)) == ("no video track", "no video track")
