import errno
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from media_samples import bursts, clicks, noise, numbered_frames, tone, write_media

from cache.errors import WriteError
from pipeline.media.audio import AudioFile, extract_audio
from pipeline.media.containers import MediaError
from pipeline.media.probe import probe
from pipeline.media.times import sample_position

CLICKS_S = [0.0, 0.1, 1 / 3, 0.5, 0.777, 1.23456, 1.9]


def read(path, dtype="int16"):
    return soundfile.read(path, dtype=dtype, always_2d=True)[0]


def extract(source, **options):
    target = source.with_name("out.flac")
    made = extract_audio(source, target, **options)
    info = soundfile.info(target)
    assert (info.samplerate, info.channels, info.frames) == (made.sample_rate, made.channels, made.n_samples)
    assert [path.name for path in source.parent.iterdir() if path.name.endswith(".part")] == []
    return made, read(target, "int16" if options.get("bits", 16) == 16 else "int32")


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".wav", {}),
        (".flac", {}),
        (".mkv", {"audio_codec": "pcm_s16le"}),
        (".mkv", {"audio_codec": "flac", "frames": 50}),
        (".mov", {"audio_codec": "pcm_s16le", "frames": 50}),
        (".avi", {"audio_codec": "pcm_s16le", "frames": 50}),
    ],
)
def test_clicks_in_lossless_files_land_on_their_sample(tmp_path, ending, options, rate):
    if "frames" in options:
        options = {**options, "frames": numbered_frames(options["frames"], 48, 32)}
    source = write_media(tmp_path / f"a{ending}", samples=clicks(2, rate, CLICKS_S), sample_rate=rate, **options)
    made, samples = extract(source)
    assert made == AudioFile(rate, 1, 2 * rate, None)
    found = np.flatnonzero(samples[:, 0] > 10000).tolist()
    assert found == [sample_position(time_s, rate) for time_s in CLICKS_S]


@pytest.mark.parametrize(
    ("ending", "options", "late_s"),
    [
        (".m4a", {}, 0),
        (".mp4", {"frames": 50}, 0),
        (".mov", {"frames": 50}, 0),
        (".mkv", {"frames": 50}, 0),
        (".mp3", {}, 0),
        (".mp4", {"audio_codec": "libmp3lame"}, 0),
        (".mkv", {"audio_codec": "libmp3lame"}, 0),
        (".ogg", {}, 0),
        (".webm", {"frames": 50}, 0),
        (".mkv", {"audio_codec": "libopus", "frames": 50}, 0),
        (".mp4", {"audio_codec": "libopus"}, 0),
        (".mp4", {"container_options": {"movflags": "faststart"}}, 0),
        (".aac", {"audio_codec": "aac"}, 1024 / 48000),
        (".avi", {"frames": 50}, 1105 / 48000),
    ],
)
def test_lossy_codecs_keep_time_within_milliseconds(tmp_path, ending, options, late_s):
    """Formats that do not say how long their codec's run-in is are late by it; all others are on time."""
    if "frames" in options:
        options = {**options, "frames": numbered_frames(options["frames"], 48, 32)}
    times = [0.25, 0.5, 1.0, 1.7]
    _, samples = extract(write_media(tmp_path / f"a{ending}", samples=bursts(2, 48000, times), **options))
    loud = np.abs(samples[:, 0].astype(int)) > 6000
    for time_s in times:
        expected = sample_position(time_s + late_s, 48000)
        window = loud[expected - 2000 : expected + 2000]
        assert abs(int(np.argmax(window)) - 2000) < 0.003 * 48000


@pytest.mark.parametrize(
    "codec",
    ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_s64le", "pcm_f32le", "pcm_f64le", "pcm_mulaw"],
)
@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_sample_formats_and_channels(tmp_path, codec, channels):
    wave = tone(0.3, 16000, 300, channels)
    made, samples = extract(write_media(tmp_path / "a.wav", samples=wave, sample_rate=16000, audio_codec=codec))
    assert made == AudioFile(16000, channels, 4800, None)
    precision = {"pcm_u8": 2**-7, "pcm_mulaw": 2**-5}.get(codec, 2**-15)
    np.testing.assert_allclose(samples / 32768, wave, atol=precision)


@pytest.mark.parametrize(("codec", "steps"), [("pcm_s24le", 0), ("pcm_f32le", 0.5), ("pcm_s16le", 128)])
def test_24_bits(tmp_path, codec, steps):
    wave = (np.rint(noise(0.2, 16000, 2) * 2**23) / 2**23).astype(np.float32)
    made, samples = extract(
        write_media(tmp_path / "a.wav", samples=wave, sample_rate=16000, audio_codec=codec), bits=24
    )
    assert made == AudioFile(16000, 2, 3200, None)
    assert soundfile.info(tmp_path / "out.flac").subtype == "PCM_24"
    assert np.abs((samples >> 8) - wave.astype(np.float64) * 2**23).max() <= steps


def test_16_bits_pass_unchanged(tmp_path):
    wave = noise(0.5, 44100, 2)
    _, samples = extract(write_media(tmp_path / "a.wav", samples=wave, sample_rate=44100))
    assert np.array_equal(samples, soundfile.read(tmp_path / "a.wav", dtype="int16")[0])


def test_mono_is_the_mean(tmp_path):
    made, samples = extract(
        write_media(tmp_path / "a.wav", samples=noise(0.5, 8000, 6), sample_rate=8000), channels="mono"
    )
    source = soundfile.read(tmp_path / "a.wav", dtype="int16")[0]
    assert made == AudioFile(8000, 1, 4000, None)
    assert np.array_equal(samples[:, 0], np.rint(source.astype(np.float64).mean(axis=1)).astype(np.int16))


@pytest.mark.parametrize(("ending", "codec"), [(".m4a", "aac"), (".ogg", "libopus"), (".mkv", "libopus")])
def test_eight_planes(tmp_path, ending, codec):
    """PyAV reads past the end of frames with eight planes or more."""
    wave = tone(1, 48000, 100, 8)
    made, samples = extract(write_media(tmp_path / f"a{ending}", samples=wave, audio_codec=codec))
    assert made.channels == 8
    for channel in (0, 1, 2):
        spectrum = np.abs(np.fft.rfft(samples[:48000, channel]))
        assert np.argmax(spectrum) == pytest.approx(np.argmax(np.abs(np.fft.rfft(wave[:, channel]))), abs=1)


def test_floats_beyond_full_scale_clip(tmp_path):
    wave = np.array([[2.0], [-3.0], [0.5], [np.nan], [np.inf]], np.float32)
    made, samples = extract(write_media(tmp_path / "a.wav", samples=wave, sample_rate=8000, audio_codec="pcm_f32le"))
    assert samples[:, 0].tolist() == [32767, -32768, 16384, 0, 32767]
    assert made.warning == "60 % of the samples clipped (up to 3 times full scale)"


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        (".wav", "pcm_f32le"),
        (".wav", "pcm_f64le"),
        (".aiff", "pcm_f32be"),
        (".mka", "pcm_f32le"),
        (".caf", "pcm_f32le"),
    ],
)
def test_the_share_clipped_is_told(tmp_path, ending, codec):
    wave = np.full((10000, 1), 0.5, np.float32)
    wave[:50] = 1.25
    path = write_media(tmp_path / f"a{ending}", samples=wave, sample_rate=8000, audio_codec=codec)
    made, samples = extract(path)
    assert made.warning == "0.5 % of the samples clipped (up to 1.25 times full scale)"
    assert samples[:51, 0].tolist() == [32767] * 50 + [16384]
    assert probe(path).kind == "beyond"


@pytest.mark.parametrize("scale", [100, 2**15, 2**23, 2**31])
@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
def test_integers_saved_as_floats_are_refused(tmp_path, codec, scale):
    wave = np.rint(tone(0.5, 8000) * scale).astype(np.float32)
    path = write_media(tmp_path / "a.wav", samples=wave, sample_rate=8000, audio_codec=codec)
    with pytest.raises(MediaError, match=r"9\d\.?\d? % of the samples lie beyond full scale, .*; scale the file$"):
        extract_audio(path, tmp_path / "out.flac")
    assert not (tmp_path / "out.flac").exists()
    assert probe(path).kind == "beyond"


def test_of_long_float_pcm_the_start_tells_the_kind_and_all_of_it_the_share(tmp_path, monkeypatch):
    samples = tone(4, 48000)
    samples[-48000:] *= 3 / np.abs(samples).max()
    source = write_media(tmp_path / "a.wav", samples=samples, audio_codec="pcm_f32le")
    assert probe(source).kind == "beyond"
    monkeypatch.setattr("pipeline.media.length.LOOKED_AT", 1 << 18)
    assert probe(source).kind == ""
    assert "of the samples clipped" in extract(source)[0].warning


def test_full_scale_itself_is_not_beyond_it(tmp_path):
    wave = np.tile(np.array([[1.0], [-1.0], [1 + 2**-16]], np.float32), (1000, 1))
    path = write_media(tmp_path / "a.wav", samples=wave, sample_rate=8000, audio_codec="pcm_f32le")
    made, samples = extract(path)
    assert made.warning is None
    assert samples[:3, 0].tolist() == [32767, -32768, 32767]
    assert probe(path).kind == ""


def test_overshoots_of_a_lossy_codec_clip_as_ever(tmp_path):
    path = write_media(tmp_path / "a.m4a", samples=tone(2, 48000, 440, gain=0.999))
    made, samples = extract(path)
    assert made.warning is None
    assert samples.max() > 32000


def test_more_channels_than_flac_holds_are_mixed(tmp_path):
    made, samples = extract(write_media(tmp_path / "a.wav", samples=noise(0.1, 8000, 16), sample_rate=8000))
    assert made == AudioFile(8000, 1, 800, "16 channels mixed to one (FLAC holds 8)")
    source = soundfile.read(tmp_path / "a.wav", dtype="int16")[0]
    assert np.array_equal(samples[:, 0], np.rint(source.astype(np.float64).mean(axis=1)).astype(np.int16))


@pytest.mark.parametrize(("rate", "carried"), [(768000, 384000), (705600, 352800), (96001, 96000), (655350, 655350)])
def test_rates_flac_cannot_carry_are_resampled(tmp_path, rate, carried):
    made, samples = extract(write_media(tmp_path / "a.wav", samples=tone(0.5, rate, 1000), sample_rate=rate))
    assert made.sample_rate == carried
    assert made.n_samples == pytest.approx(0.5 * carried, abs=2)
    wave = tone(0.5, carried, 1000)
    inside = slice(2000, -2000)
    np.testing.assert_allclose(samples[: len(wave)][inside] / 32768, wave[inside], atol=2e-3)


def test_one_sample(tmp_path):
    made, samples = extract(write_media(tmp_path / "a.wav", samples=np.full((1, 1), 0.5, np.float32), sample_rate=8000))
    assert made == AudioFile(8000, 1, 1, None)
    assert samples[:, 0].tolist() == [16384]


def test_silence(tmp_path):
    made, samples = extract(write_media(tmp_path / "a.wav", samples=np.zeros((8000, 2), np.float32), sample_rate=8000))
    assert made == AudioFile(8000, 2, 8000, None)
    assert not samples.any()


@pytest.mark.parametrize(
    ("ending", "codec", "start_s"),
    [
        (".mkv", "pcm_s16le", 0.5),
        (".mkv", "flac", 1.234),
        (".mov", "pcm_s16le", 0.5),
        (".mp4", "aac", 0.75),
        (".webm", "libopus", 0.5),
    ],
)
def test_sound_that_starts_late_is_padded(tmp_path, ending, codec, start_s):
    source = write_media(
        tmp_path / f"a{ending}",
        samples=bursts(1, 48000, [0.25]),
        audio_codec=codec,
        audio_start_s=start_s,
        frames=numbered_frames(50, 48, 32),
    )
    made, samples = extract(source)
    loud = np.flatnonzero(np.abs(samples[:, 0].astype(int)) > 6000)
    tolerance_s = 0.001 if codec in ("pcm_s16le", "flac") else 0.004
    assert loud[0] / 48000 == pytest.approx(start_s + 0.25, abs=tolerance_s)
    assert made.n_samples / 48000 == pytest.approx(start_s + 1, abs=0.03)
    assert not samples[: int((start_s - 0.03) * 48000)].any()
    assert made.warning is None


def test_a_hole_in_the_timestamps_is_silence(tmp_path):
    source = write_media(
        tmp_path / "a.mkv",
        samples=clicks(2, 48000, [0.5, 1.5]),
        audio_codec="pcm_s16le",
        audio_gaps=[(1.0, 0.75)],
    )
    made, samples = extract(source)
    assert np.flatnonzero(samples[:, 0] > 10000).tolist() == pytest.approx([24000, 108000], abs=48)
    assert made.n_samples == pytest.approx(2.75 * 48000, abs=48)
    assert made.warning == "0.75 s missing, filled with silence"


def test_a_small_hole_is_closed(tmp_path):
    source = write_media(
        tmp_path / "a.mkv", samples=clicks(2, 48000, [1.5]), audio_codec="pcm_s16le", audio_gaps=[(1.0, 0.08)]
    )
    made, samples = extract(source)
    assert np.flatnonzero(samples[:, 0] > 10000).tolist() == [72000]
    assert made == AudioFile(48000, 1, 96000, None)


def test_an_overlap_is_dropped(tmp_path):
    first = write_media(tmp_path / "1.ts", samples=bursts(2, 48000, [0.5]), audio_codec="mp2")
    second = write_media(tmp_path / "2.ts", samples=bursts(2, 48000, [0.7, 1.2]), audio_codec="mp2", audio_start_s=1.0)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    made, samples = extract(both)
    assert made.n_samples / 48000 == pytest.approx(3.0, abs=0.05)
    loud = np.flatnonzero(np.abs(samples[:, 0].astype(int)) > 6000) / 48000
    assert loud[0] == pytest.approx(0.51, abs=0.01)
    assert loud[loud > 1][0] == pytest.approx(2.21, abs=0.01)


def test_a_clock_that_starts_again_goes_on(tmp_path):
    one = write_media(tmp_path / "1.ts", samples=bursts(15, 48000, [14.5]), audio_codec="mp2")
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() * 2)
    made, _ = extract(both)
    assert made.n_samples / 48000 == pytest.approx(30, abs=0.1)
    assert made.warning is None


def test_timestamps_that_jump_a_year_do_not_fill_the_disk(tmp_path):
    source = write_media(tmp_path / "a.mkv", samples=noise(2, 48000), audio_codec="pcm_s16le", audio_gaps=[(1.0, 3e7)])
    made, _ = extract(source)
    assert made.n_samples == 96000
    assert probe(source).duration_s == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("second", [(44100, 2), (24000, 1), (48000, 1)])
def test_a_change_of_format_midway_is_converted_to_the_first(tmp_path, second):
    rate, channels = second
    first = write_media(tmp_path / "1.aac", samples=tone(1, 48000, 440, 2), audio_codec="aac")
    other = write_media(tmp_path / "2.aac", samples=tone(1, rate, 440, channels), sample_rate=rate, audio_codec="aac")
    both = tmp_path / "both.aac"
    both.write_bytes(first.read_bytes() + other.read_bytes())
    made, samples = extract(both)
    assert (made.sample_rate, made.channels) == (48000, 2)
    assert made.n_samples / 48000 == pytest.approx(2.05, abs=0.1)
    tail = samples[int(1.3 * 48000) : int(1.8 * 48000), 0] / 32768
    pitch = np.argmax(np.abs(np.fft.rfft(tail))) / 0.5
    assert pitch == pytest.approx(440, abs=3)


@pytest.mark.parametrize("ending", [".mp3", ".ogg"])
def test_files_glued_together_play_one_after_the_other(tmp_path, ending):
    one = write_media(tmp_path / f"1{ending}", samples=tone(12, 48000, 300))
    two = write_media(tmp_path / f"2{ending}", samples=tone(12, 48000, 600))
    both = tmp_path / f"both{ending}"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    made, samples = extract(both)
    assert made.n_samples / 48000 == pytest.approx(24, abs=0.2)
    for middle_s, hertz in [(6, 300), (18, 600)]:
        piece = samples[(middle_s - 1) * 48000 : (middle_s + 1) * 48000, 0]
        assert np.argmax(np.abs(np.fft.rfft(piece))) / 2 == pytest.approx(hertz, abs=2)


def test_the_same_file_gives_the_same_bytes(tmp_path):
    source = write_media(tmp_path / "a.mp4", samples=noise(2, 44100, 2), sample_rate=44100, frames=numbered_frames(50))
    extract_audio(source, tmp_path / "1.flac")
    extract_audio(source, tmp_path / "2.flac")
    assert (tmp_path / "1.flac").read_bytes() == (tmp_path / "2.flac").read_bytes()


def test_the_same_sound_gives_the_same_bytes_from_any_lossless_container(tmp_path):
    wave = noise(2, 48000, 2)
    made = set()
    for name, options in [
        ("a.wav", {}),
        ("a.flac", {}),
        ("a.mkv", {"audio_codec": "pcm_s16le"}),
        ("b.mov", {"audio_codec": "pcm_s16le"}),
    ]:
        extract_audio(write_media(tmp_path / name, samples=wave, **options), tmp_path / "out.flac")
        made.add((tmp_path / "out.flac").read_bytes())
    assert len(made) == 1


def test_an_old_target_is_replaced_not_written_into(tmp_path):
    source = write_media(tmp_path / "a.wav", samples=noise(1, 8000), sample_rate=8000)
    target, link = tmp_path / "out.flac", tmp_path / "link.flac"
    target.write_bytes(b"old")
    os.link(target, link)
    extract_audio(source, target)
    assert link.read_bytes() == b"old"
    assert soundfile.info(target).frames == 8000


def test_a_full_disk_leaves_nothing_behind_and_says_so(tmp_path):
    source = write_media(tmp_path / "a.wav", samples=noise(4, 48000))
    target = tmp_path / "out.flac"
    target.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(WriteError) as caught:
            extract_audio(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "out.flac"]


def test_memory_does_not_grow_with_length(tmp_path):
    """A long file through a child process: 20 minutes of stereo are 230 MB of floats."""
    source = write_media(tmp_path / "a.flac", samples=np.zeros((20 * 60 * 16000, 2), np.float32), sample_rate=16000)
    script = (
        "import resource, sys; from pathlib import Path; from pipeline.media.audio import extract_audio\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "extract_audio(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "out.flac")]
    megabytes = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert megabytes < 60


def test_nothing_heavy_is_imported():
    script = (
        "import sys; from pipeline.media import audio, frames as display, frames, probe, times\n"
        "print([name for name in ('torch', 'stages', 'polars', 'pydantic') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_time_zero_counts_the_picture_too(tmp_path):
    source = write_media(
        tmp_path / "a.mkv",
        samples=clicks(1, 8000, [0.5]),
        sample_rate=8000,
        audio_codec="pcm_s16le",
        audio_start_s=1.5,
        frames=numbered_frames(25, 48, 32),
        frame_times_s=[1.0 + number / 25 for number in range(25)],
    )
    _, samples = extract(source)
    assert np.flatnonzero(samples[:, 0] > 10000)[0] / 8000 == pytest.approx(1.0, abs=0.002)


def test_no_sound_track(tmp_path):
    source = write_media(tmp_path / "a.mp4", frames=numbered_frames(10))
    with pytest.raises(MediaError, match=r"^no audio track$"):
        extract_audio(source, tmp_path / "out.flac")
    assert not (tmp_path / "out.flac").exists()
