from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.containers import MediaError
from pipeline.media.times import fixed_windows, sample_position, sample_span

RATES = st.sampled_from([8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000])
SECONDS = st.floats(0, 20_000, allow_nan=False)


@given(SECONDS, RATES)
def test_position_is_the_nearest_sample(time_s, rate):
    distance = sample_position(time_s, rate) - Fraction(time_s) * rate
    assert -Fraction(1, 2) < distance <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("time_s", "rate", "position"), [(0.5, 1, 1), (1.5, 1, 2), (0.25, 2, 1), (-0.5, 1, 0), (0, 8, 0)]
)
def test_halves_go_up(time_s, rate, position):
    assert sample_position(time_s, rate) == position


@given(st.integers(0, 10**9), RATES)
def test_the_time_of_a_sample_is_its_position(sample, rate):
    assert sample_position(sample / rate, rate) == sample


@given(st.lists(SECONDS, min_size=2, max_size=8), RATES, st.integers(1, 10**9))
def test_neighbouring_clips_share_their_boundary(times, rate, n_samples):
    times = sorted(times)
    spans = []
    for start_s, stop_s in pairwise(times):
        if sample_position(start_s, rate) < min(sample_position(stop_s, rate), n_samples):
            spans.append(sample_span(start_s, stop_s, rate, n_samples))
    for (_, last), (first, _) in pairwise(spans):
        assert last == first


@given(SECONDS, SECONDS, RATES, st.integers(0, 10**9))
def test_a_span_lies_in_the_file_or_is_an_error(one_s, other_s, rate, n_samples):
    start_s, stop_s = sorted([one_s, other_s])
    try:
        first, last = sample_span(start_s, stop_s, rate, n_samples)
    except MediaError as error:
        assert "clip lies outside the media" in error.reason
        assert start_s * rate >= n_samples * (1 - 1e-12)
    else:
        assert 0 <= first < last <= n_samples


@given(SECONDS, SECONDS, RATES)
def test_a_span_inside_the_file_is_exact(one_s, other_s, rate):
    start_s, stop_s = sorted([one_s, other_s])
    first, last = sample_span(start_s, stop_s, rate, 10**10)
    assert first == sample_position(start_s, rate)
    assert last == max(sample_position(stop_s, rate), first + 1)


def test_a_span_is_clamped_to_the_file():
    assert sample_span(-1.0, 100.0, 10, 50) == (0, 50)
    assert sample_span(4.99, 100.0, 10, 50) == (49, 50)
    assert sample_span(-3.0, 0.01, 10, 50) == (0, 1)
    assert sample_span(2.0, 2.0, 10, 50) == (20, 21)


@pytest.mark.parametrize(
    ("start_s", "stop_s", "n_samples"),
    [(5.0, 6.0, 50), (-2.0, -1.0, 50), (-1.0, 0.0, 50), (0.0, 1.0, 0), (7.0, 7.0, 50)],
)
def test_a_clip_outside_the_file_is_an_error(start_s, stop_s, n_samples):
    with pytest.raises(MediaError, match="clip lies outside the media"):
        sample_span(start_s, stop_s, 10, n_samples)


def test_a_clip_that_ends_before_it_starts_is_an_error():
    with pytest.raises(MediaError, match="clip ends before it starts"):
        sample_span(3.0, 2.0, 10, 50)


@given(st.floats(1e-3, 500), st.floats(1, 100), st.floats(0, 100))
def test_windows_cover_the_medium_once(duration_s, window_s, min_last_s):
    windows = fixed_windows(duration_s, window_s, min_last_s)
    assert windows[0][0] == 0
    assert windows[-1][1] == duration_s
    for (_, stop_s), (start_s, _) in pairwise(windows):
        assert stop_s == start_s
    assert all(abs(stop_s - start_s - window_s) < 1e-9 for start_s, stop_s in windows[:-1])
    last_s = windows[-1][1] - windows[-1][0]
    assert last_s > 0
    assert last_s < window_s + min(min_last_s, window_s) + 1e-6 * duration_s
    if len(windows) > 1:
        assert last_s >= min(min_last_s, window_s) - 1e-6 * duration_s


@pytest.mark.parametrize(
    ("duration_s", "window_s", "min_last_s", "windows"),
    [
        (30.0, 10.0, 3.0, [(0.0, 10.0), (10.0, 20.0), (20.0, 30.0)]),
        (32.0, 10.0, 3.0, [(0.0, 10.0), (10.0, 20.0), (20.0, 32.0)]),
        (33.0, 10.0, 3.0, [(0.0, 10.0), (10.0, 20.0), (20.0, 30.0), (30.0, 33.0)]),
        (2.0, 10.0, 3.0, [(0.0, 2.0)]),
        (10.5, 10.0, 3.0, [(0.0, 10.5)]),
        (0.3, 0.1, 0.1, [(0.0, 0.1), (0.1, 0.2), (0.2, 0.3)]),
        (11.0, 10.0, 0.0, [(0.0, 10.0), (10.0, 11.0)]),
    ],
)
def test_windows_by_example(duration_s, window_s, min_last_s, windows):
    found = fixed_windows(duration_s, window_s, min_last_s)
    assert [time for window in found for time in window] == pytest.approx(
        [time for window in windows for time in window]
    )


@given(st.floats(1e-3, 500), st.floats(1, 100), st.floats(0, 100), st.floats(0.02, 1))
def test_overlapping_windows_cover_the_medium(duration_s, window_s, min_last_s, share):
    hop_s = share * window_s
    windows = fixed_windows(duration_s, window_s, min_last_s, hop_s)
    assert windows[0][0] == 0
    assert windows[-1][1] == duration_s
    assert [start_s for start_s, _ in windows] == pytest.approx([hop_s * number for number in range(len(windows))])
    assert all(stop_s - start_s == pytest.approx(window_s) for start_s, stop_s in windows[:-1])
    for (start_s, stop_s), (next_start_s, next_stop_s) in pairwise(windows):
        assert start_s < next_start_s <= stop_s < next_stop_s  # no gap, and none within another
    if len(windows) > 1:
        own_s = windows[-1][1] - windows[-2][1]
        assert own_s >= min(min_last_s, hop_s) - 1e-6 * duration_s


@given(st.floats(1e-3, 500), st.floats(1, 100), st.floats(0, 100))
def test_a_hop_of_a_window_changes_no_bit(duration_s, window_s, min_last_s):
    assert fixed_windows(duration_s, window_s, min_last_s, window_s) == fixed_windows(duration_s, window_s, min_last_s)


@pytest.mark.parametrize(
    ("duration_s", "windows"),
    [
        (3.0, [(0, 3.0)]),
        (4.0, [(0, 4.0)]),
        (4.5, [(0, 4.5)]),
        (5.0, [(0, 4), (2, 5.0)]),
        (8.0, [(0, 4), (2, 6), (4, 8.0)]),
        (8.5, [(0, 4), (2, 6), (4, 8.5)]),
        (9.5, [(0, 4), (2, 6), (4, 8), (6, 9.5)]),
    ],
)
def test_overlapping_windows_by_example(duration_s, windows):
    assert fixed_windows(duration_s, 4.0, 1.0, 2.0) == windows


def test_windows_of_nothing_are_an_error():
    with pytest.raises(MediaError, match="zero duration"):
        fixed_windows(0.0, 10.0, 1.0)
    with pytest.raises(ValueError, match="window_s"):
        fixed_windows(10.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="hop_s"):
        fixed_windows(10.0, 4.0, 1.0, 5.0)
