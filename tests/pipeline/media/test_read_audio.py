import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_samples import clicks, noise, tone, write_media

from pipeline.media.audio import extract_audio, read_audio
from pipeline.media.containers import MediaError
from pipeline.media.times import sample_position, sample_span


@pytest.fixture(scope="module")
def flac(tmp_path_factory):
    path = tmp_path_factory.mktemp("flac") / "a.flac"
    soundfile.write(path, noise(20, 44100, 2), 44100)
    return path


@pytest.fixture(scope="module")
def whole(flac):
    return soundfile.read(flac, dtype="float32", always_2d=True)[0].astype(np.float64).mean(axis=1).astype(np.float32)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 19.99), st.floats(0, 3))
def test_any_segment_at_the_files_own_rate_is_exact(flac, whole, start_s, length_s):
    first, last = sample_span(start_s, start_s + length_s, 44100, len(whole))
    read = read_audio(flac, start_s, start_s + length_s, 44100)
    assert read.dtype == np.float32
    assert np.array_equal(read, whole[first:last])


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 19.99), st.floats(0, 1), st.sampled_from([8000, 16000, 32000, 48000, 44099, 96000]))
def test_length_after_resampling(flac, start_s, length_s, rate):
    first, last = sample_span(start_s, start_s + length_s, 44100, 20 * 44100)
    read = read_audio(flac, start_s, start_s + length_s, rate)
    assert len(read) == max(round((last - first) * rate / 44100), 1)
    assert np.isfinite(read).all()


def test_clips_in_a_row_make_the_whole(flac, whole):
    edges = [0.0, 0.1, 1 / 3, 2.718281828, 10.00001, 19.5, 20.0]
    pieces = [read_audio(flac, edges[place], edges[place + 1], 44100) for place in range(len(edges) - 1)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_resampling_is_soxr_high_quality(flac, whole):
    read = read_audio(flac, 2.0, 5.0, 16000)
    expected = soxr.resample(whole[88200:220500], 44100, 16000, quality="HQ")
    assert len(read) == 48000
    np.testing.assert_array_equal(read[: len(expected)], expected[:48000])


@pytest.mark.parametrize("rate", [8000, 16000, 32000, 48000, 192000])
def test_pitch_and_level_survive_resampling(tmp_path, rate):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(2, 44100, 1000), 44100, subtype="PCM_24")
    read = read_audio(path, 0.5, 1.5, rate)
    wave = tone(2, rate, 1000)[rate // 2 : 3 * rate // 2, 0]
    inside = slice(rate // 10, -rate // 10)
    np.testing.assert_allclose(read[inside], wave[inside], atol=1e-3)


def test_a_click_lands_where_its_time_says(tmp_path):
    for time_s in (0.2, 1 / 3, 0.98765):
        extract_audio(
            write_media(tmp_path / "a.wav", samples=clicks(2, 44100, [time_s]), sample_rate=44100), tmp_path / "a.flac"
        )
        read = read_audio(tmp_path / "a.flac", 0.1, 1.9, 48000)
        assert np.argmax(np.abs(read)) == pytest.approx((sample_position(time_s, 44100) / 44100 - 0.1) * 48000, abs=1)


def test_a_clip_of_one_sample(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.array([0.5]), 48000)
    assert read_audio(tmp_path / "a.flac", 0.0, 1.0, 48000).tolist() == [0.5]
    assert read_audio(tmp_path / "a.flac", 0.0, 1.0, 8000).shape == (1,)
    assert read_audio(tmp_path / "a.flac", 0.0, 0.0, 96000).shape == (2,)


def test_clips_are_clamped_and_outside_is_an_error(flac, whole):
    assert np.array_equal(read_audio(flac, 19.0, 25.0, 44100), whole[19 * 44100 :])
    with pytest.raises(MediaError, match="clip lies outside the media"):
        read_audio(flac, 20.0, 21.0, 44100)


def test_a_missing_file(tmp_path):
    with pytest.raises(MediaError, match="file not found"):
        read_audio(tmp_path / "a.flac", 0, 1, 16000)


@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
def test_one_flipped_bit_is_noticed(flac, tmp_path, place):
    data = bytearray(flac.read_bytes())
    data[int(len(data) * place)] ^= 1
    (tmp_path / "a.flac").write_bytes(bytes(data))
    with pytest.raises(MediaError, match="damaged FLAC file"):
        read_audio(tmp_path / "a.flac", 0, 20, 16000)


def test_a_short_file_is_noticed(flac, tmp_path):
    data = flac.read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match=r"truncated|damaged"):
        read_audio(tmp_path / "a.flac", 0, 20, 16000)


def test_not_a_flac_file(tmp_path):
    (tmp_path / "a.flac").write_text("text")
    with pytest.raises(MediaError, match="damaged FLAC file"):
        read_audio(tmp_path / "a.flac", 0, 1, 16000)


@pytest.mark.parametrize("bits", [16, 24])
def test_the_mean_of_two_channels_is_rounded_once(tmp_path, bits):
    top = 2 ** (bits - 1)
    edges = np.array([-top, 1 - top, -1, 0, 1, top - 2, top - 1])
    drawn = np.random.default_rng(0).integers(-top, top, (4000, 2))
    integers = np.concatenate([np.stack(np.meshgrid(edges, edges), -1).reshape(-1, 2), drawn])
    path = tmp_path / "two.flac"
    soundfile.write(path, (integers << (32 - bits)).astype(np.int32), 8000, subtype=f"PCM_{bits}")
    read = read_audio(path, 0.0, len(integers) / 8000, None)
    np.testing.assert_array_equal(read, (integers.sum(1) / (2 * top)).astype(np.float32))
