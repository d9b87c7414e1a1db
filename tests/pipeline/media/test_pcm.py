import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.media.flac import frame_values, mix_to_mono, quantise, to_floats


@pytest.mark.parametrize("format_name", ["s16", "s16p", "flt", "fltp", "s32", "s32p", "dbl", "dblp", "u8", "u8p"])
def test_frames_of_every_format_give_samples_by_channels(format_name):
    expected = np.array([[0.5, -0.25], [0.25, -0.5], [0.0, 0.125]], np.float32)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(expected.T), format="fltp", layout="stereo")
    frame.sample_rate = 8000
    (frame,) = av.AudioResampler(format_name, "stereo", 8000).resample(frame)
    np.testing.assert_array_equal(to_floats(frame_values(frame)), expected)


@given(hnp.arrays(np.int16, (7, 2)))
def test_16_bits_survive(values):
    np.testing.assert_array_equal(quantise(to_floats(values), 16), values)


@given(hnp.arrays(np.int32, (7, 2), elements=st.integers(-(2**23), 2**23 - 1)))
def test_24_bits_survive(values):
    np.testing.assert_array_equal(quantise(to_floats(values << 8), 24), values << 8)


def test_rounding_is_to_the_nearest_and_of_halves_to_even():
    samples = np.array([[0.5], [1.5], [2.5], [-0.5], [-1.5], [0.4], [0.6]], np.float32) / 32768
    assert quantise(samples, 16)[:, 0].tolist() == [0, 2, 2, 0, -2, 0, 1]


def test_beyond_full_scale_clips_and_what_is_no_number_is_silence():
    wild = np.array([[2.0], [-2.0], [1.0], [-1.0], [np.nan], [np.inf], [-np.inf]], np.float32)
    whole = [32767, -32768, 32767, -32768, 0, 32767, -32768]
    assert quantise(to_floats(wild), 16)[:, 0].tolist() == whole
    full = [2**23 - 1, -(2**23), 2**23 - 1, -(2**23), 0, 2**23 - 1, -(2**23)]
    assert (quantise(to_floats(wild), 24)[:, 0] >> 8).tolist() == full


def test_the_mix_is_the_exact_mean():
    values = np.array([[32767, 32766], [1, 0], [-32768, -32768]], np.int16)
    mixed = mix_to_mono(to_floats(values))
    assert (mixed[:, 0] * 32768).tolist() == [32766.5, 0.5, -32768.0]
    assert mix_to_mono(mixed) is mixed
