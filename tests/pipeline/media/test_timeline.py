from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.decoding import SampleClock, Timeline
from pipeline.media.times import sample_position

RATE = 1000
FAR = 10**9


@given(
    st.integers(-(10**12), 10**12),
    st.fractions(Fraction(1, 90000), Fraction(1, 10), max_denominator=10**8),
    st.fractions(-2, 2, max_denominator=90000),
    st.sampled_from([8000, 44100, 48000]),
)
def test_a_clock_agrees_with_exact_arithmetic(timestamp, time_base, zero, rate):
    expected = sample_position(timestamp * time_base - zero, rate)
    assert SampleClock(time_base, zero, rate).position(timestamp) == expected


def test_contiguous_blocks_stay_as_they_are():
    timeline = Timeline(RATE, FAR)
    assert [timeline.place(start, 20) for start in (0, 20, 41, 59, None)] == [(0, 0)] * 5
    assert timeline.position == 100
    assert (timeline.holes, timeline.jumps) == (0, 0)


def test_a_late_start_is_silence_to_the_sample():
    timeline = Timeline(RATE, FAR)
    assert timeline.place(7, 20) == (7, 0)
    assert timeline.place(27, 20) == (0, 0)
    assert timeline.holes == 0


def test_what_comes_before_time_zero_is_dropped():
    timeline = Timeline(RATE, FAR)
    assert timeline.place(-25, 20) == (0, 20)
    assert timeline.place(-5, 20) == (0, 5)
    assert timeline.place(15, 20) == (0, 0)


def test_a_hole_is_filled_and_counted():
    timeline = Timeline(RATE, FAR)
    timeline.place(0, 100)
    assert timeline.place(200, 100) == (0, 0), "0.1 s is tolerated"
    assert timeline.place(301, 100) == (101, 0)
    assert timeline.holes == 101


def test_after_a_loss_small_holes_are_filled_too():
    timeline = Timeline(RATE, FAR)
    timeline.place(0, 100)
    assert timeline.place(120, 100, lost=True) == (20, 0)
    assert timeline.place(230, 100) == (0, 0)


def test_a_missing_timestamp_amid_others_counts_as_a_loss():
    timeline = Timeline(RATE, FAR)
    timeline.place(0, 100)
    timeline.place(None, 100)
    assert timeline.place(240, 100) == (40, 0)


def test_an_overlap_is_dropped():
    timeline = Timeline(RATE, FAR)
    timeline.place(0, 1000)
    assert timeline.place(500, 430) == (0, 430)
    assert timeline.place(930, 400) == (0, 70), "what is left of the overlap, however short"
    assert timeline.position == 1330


def test_a_clock_that_starts_again_goes_on():
    timeline = Timeline(RATE, FAR)
    timeline.place(0, 20_000)
    assert timeline.place(0, 1000) == (0, 0)
    assert timeline.place(1000, 1000) == (0, 0)
    assert timeline.place(2500, 1000) == (500, 0)
    assert timeline.jumps == 1


def test_a_wild_timestamp_does_not_fill_the_disk():
    timeline = Timeline(RATE, limit=5000)
    timeline.place(0, 1000)
    assert timeline.place(10**15, 1000) == (0, 0)
    assert timeline.place(2000, 1000) == (0, 0)
    assert timeline.position == 3000
    assert timeline.jumps == 2


def test_holes_do_not_pile_up_without_end():
    timeline = Timeline(RATE, FAR)
    for block in range(100):
        timeline.place(block * 600 * RATE, RATE)
    assert timeline.jumps > 90
    assert timeline.position < 2 * 3600 * RATE


def test_counted_timestamps_matter_after_a_loss_alone():
    timeline = Timeline(RATE, FAR, counted=True)
    timeline.place(0, 1000)
    assert timeline.place(400, 1000) == (0, 0)
    assert timeline.place(5000, 1000) == (0, 0)
    assert timeline.place(6200, 1000, lost=True) == (200, 0)
    assert (timeline.holes, timeline.jumps) == (200, 0)


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(-(10**6), 10**6)), st.integers(1, 5000), st.booleans()), max_size=50
    )
)
def test_no_sequence_of_blocks_grows_beyond_reason(blocks):
    limit = 100_000
    timeline = Timeline(RATE, limit)
    for start, n_samples, lost in blocks:
        before = timeline.position
        silence, drop = timeline.place(start, n_samples, lost)
        assert silence >= 0
        assert 0 <= drop <= n_samples
        assert silence == 0 or before + silence <= limit
        assert timeline.position == before + silence + n_samples - drop
