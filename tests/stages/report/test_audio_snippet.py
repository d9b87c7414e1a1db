"""Snippets: what a browser gets to play."""

import io

import av
import numpy as np
import pytest

from stages.report.audio import MP3_RATES, encode_snippet


def tone(seconds, rate, hertz=440):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def decoded(data):
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
        return np.concatenate(frames, axis=1), stream.rate, container.format.name


@pytest.mark.parametrize("rate", [5512, 8000, 16000, 22050, 37800, 44100, 48000, 96000, 192000])
def test_is_a_mono_mp3_of_the_same_sound_and_length(rate):
    samples, out_rate, container = decoded(encode_snippet(tone(1, rate), rate))
    assert container == "mp3" and samples.shape[0] == 1 and out_rate in MP3_RATES
    assert samples.shape[1] / out_rate == pytest.approx(1, abs=0.01)
    peak = np.abs(np.fft.rfft(samples[0])).argmax() * out_rate / samples.shape[1]
    assert peak == pytest.approx(440, abs=2)


def test_is_small():
    assert len(encode_snippet(tone(8, 48000), 48000)) < 68_000
    assert len(encode_snippet(tone(8, 16000), 16000)) < 52_000


def test_a_long_sound_is_cut_and_fades():
    samples, rate, _ = decoded(encode_snippet(np.full(32000 * 4, 0.5, np.float32), 32000, max_s=1.5))
    assert samples.shape[1] / rate == pytest.approx(1.5, abs=0.01)


def test_one_sample_is_enough():
    decoded(encode_snippet(np.ones(1, np.float32), 16000))


def test_loud_and_broken_samples_are_tamed_and_the_input_is_left_alone():
    samples = np.array([np.nan, np.inf, -np.inf, 9.0] * 8000, np.float32)
    before = samples.copy()
    result, _, _ = decoded(encode_snippet(samples, 16000, max_s=1))
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(samples, before)


def test_same_sound_gives_same_bytes():
    assert encode_snippet(tone(1, 16000), 16000) == encode_snippet(tone(1, 16000), 16000)


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros((2, 100), np.float32)])
def test_what_is_no_mono_sound_is_refused(samples):
    with pytest.raises(ValueError, match="mono samples"):
        encode_snippet(samples, 16000)
