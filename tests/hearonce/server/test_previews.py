"""What is played and cut is what was embedded: the same samples, and the same frames."""

import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from media_samples import frame_number, noise, numbered_frames, write_media
from PIL import Image

from hearonce.searcher import Searcher
from hearonce.server.clips import Clips
from hearonce.server.previews import Media, Span, cut, preview, still
from hearonce.server.worker import Worker, Workers
from pipeline.media.containers import MediaError
from pipeline.media.times import sample_span

RATE, FPS, SECONDS = 22_050, 10, 4


@pytest.fixture
def spans(project, hearonce):
    """Audio and frames of clips by their ids: a video whose audio comes 0.5 s late, a silent one, and an audio file."""
    media = project / "made"
    media.mkdir()
    write_media(
        media / "video.mkv",
        frames=numbered_frames(FPS * SECONDS),
        rate=FPS,
        samples=noise(SECONDS - 0.5, RATE),
        sample_rate=RATE,
        audio_codec="flac",
        audio_start_s=0.5,
    )
    write_media(media / "silent.mkv", frames=numbered_frames(FPS * SECONDS, first=100), rate=FPS)
    write_media(media / "audio.wav", samples=noise(SECONDS, RATE, channels=2, seed=1), sample_rate=RATE)
    # 3: finished, with a problem: the silent video has no audio to extract
    for command, expected in ((("init", "made"), 0), (("ingest", "made"), 0), (("extract-audio", "made"), 3)):
        code, out, err = hearonce(*command)
        assert code == expected, (out, err)
    workers = Workers()
    clips = Clips(Searcher("cpu"), workers)
    yield lambda name: clips.media("made", name)
    workers.close()


def shown(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [frame_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def heard(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return np.concatenate([frame.to_ndarray() for frame in container.decode(stream)], axis=1)[0], stream.rate


def test_a_cut_has_the_frames_and_the_samples_of_its_seconds(spans, tmp_path):
    video = spans("video.mkv")
    cut(video.cut(1.0, 2.5), tmp_path / "cut.mp4")
    assert shown(tmp_path / "cut.mp4") == list(range(10, 25))
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert float(container.duration) / av.time_base == pytest.approx(1.5, abs=0.03)
    with pytest.raises(MediaError, match=r"the file lasts 4\.0"):
        cut(video.cut(3.0, 9.0), tmp_path / "beyond.mp4")

    audio = spans("audio.wav")
    (whole,) = Path(".hearonce/audio").glob(f"*/*/{audio.audio[0].media_digest}.flac")
    samples, _ = soundfile.read(whole, dtype="int16", always_2d=True)
    for start_s, stop_s in ((0.0, 1.0), (22_051 / 2 / RATE, 66_153 / 2 / RATE), (0.1237, 3.99), (3.5, SECONDS)):
        cut(audio.cut(start_s, stop_s), tmp_path / "cut.flac")
        found, rate = soundfile.read(tmp_path / "cut.flac", dtype="int16", always_2d=True)
        first, last = sample_span(start_s, stop_s, RATE, len(samples))  # as clips are read to be embedded
        assert rate == RATE and np.array_equal(found, samples[first:last])
    for start_s, stop_s in ((3.0, 5.0), (50.0, 51.0)):
        with pytest.raises(MediaError, match=r"the file lasts 4\.000 s|outside the media"):
            cut(audio.cut(start_s, stop_s), tmp_path / "beyond.flac")


def test_a_preview_begins_and_ends_with_its_clip_and_audio_that_comes_late_stays_late(spans, tmp_path):
    part = spans("video.mkv").cut(0.0, 2.0)
    preview(part, tmp_path / "preview.webm")
    assert shown(tmp_path / "preview.webm") == [int((number + 0.5) / 15 * FPS) for number in range(30)]
    samples, rate = heard(tmp_path / "preview.webm")
    level = np.abs(samples[: 2 * rate])
    assert level[: int(0.45 * rate)].max() < 0.05 < level[int(0.55 * rate) :].mean()
    still(part, tmp_path / "still.jpg")
    assert frame_number(np.asarray(Image.open(tmp_path / "still.jpg").resize((192, 64)))) == 10


def test_a_file_of_audio_alone_and_a_silent_video_have_previews_and_cuts(spans, tmp_path):
    audio, silent = spans("audio.wav"), spans("silent.mkv")
    assert audio.audio and not audio.video and silent.video and not silent.audio
    preview(audio, tmp_path / "audio.webm")
    samples, rate = heard(tmp_path / "audio.webm")
    assert len(samples) / rate == pytest.approx(SECONDS, abs=0.05) and np.abs(samples).mean() > 0.05
    cut(silent.cut(1.0, 2.0), tmp_path / "silent.mp4")
    assert shown(tmp_path / "silent.mp4") == list(range(110, 120))
    preview(silent, tmp_path / "silent.webm")
    with av.open(str(tmp_path / "silent.webm")) as container:
        assert not container.streams.audio and float(container.duration) / av.time_base == pytest.approx(4, abs=0.1)


def test_a_cut_of_numbered_frames_has_those_of_its_seconds(tmp_path):
    folder = Media("any", (), (Span("frames", "0", 20.0, 30.0, 101, 200),))
    (part,) = folder.cut(22.0, 25.0).video
    assert (part.start_frame, part.stop_frame) == (121, 150)
    (instant,) = folder.cut(20.0, 20.001).video
    assert (instant.start_frame, instant.stop_frame) == (101, 101)
    (unknown,) = Media("any", (), (Span("frames", "0", 0.0, 0.0, 1, 9),)).cut(0.0, 1.0).video
    assert (unknown.start_frame, unknown.stop_frame) == (1, 9)


def test_media_that_a_table_places_elsewhere_are_not_opened(spans, tmp_path):
    audio = spans("audio.wav").audio[0]
    for path in ("/etc/passwd", "../made/audio.wav"):
        with pytest.raises(MediaError, match="no path below the folder"):
            still(Media("made", (), (Span(path, audio.media_digest, 0.0, 1.0),)), tmp_path / "still.jpg")


def test_a_worker_makes_an_image_without_torch_soon(spans, tmp_path):
    worker = Worker()
    job = {"what": "waveform", "media": spans("audio.wav").json(), "out": str(tmp_path / "waveform.png")}
    try:
        worker.run(job)
        began = time.perf_counter()
        worker.run(job)
        assert time.perf_counter() - began < 1.0  # 0.02 s on a quiet machine
        assert worker._process is not None
        maps = Path(f"/proc/{worker._process.pid}/maps").read_text()
        assert "libav" in maps and "libtorch" not in maps
    finally:
        worker.close()
    pixels = np.asarray(Image.open(tmp_path / "waveform.png"))
    assert pixels.shape == (120, 480, 4) and {*np.unique(pixels[..., 3])} == {0, 255}
