import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.ingest.cues import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.5", 12.5),
        (" 3 ", 3.0),
        ("1:02.5", 62.5),
        ("01:02:03.250", 3723.25),
        ("01:02:03,250", 3723.25),
        ("00:00:10.1234", 10.1234),  # the reference reads four digits as 11.234
        ("00:00:10", 10.0),
        ("1e1", 10.0),
        ("1,5", 1.5),
        ("0,500", 0.5),
        ("1000,125", 1000.125),
    ],
)
def test_times(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "abc", "-1", "nan", "inf", "1:2:3:4", "1:xx", "1_0", "1e9", "1,2,3", "9" * 5000])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is no time"):
        seconds(text)


def test_a_comma_that_may_stand_between_thousands_is_refused():
    with pytest.raises(ValueError, match=r"'1,500' may be 1\.500 or 1500 seconds"):
        seconds("1,500")


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_clock_times_are_exact(hours, minutes, whole, milli):
    text = f"{hours:02}:{minutes:02}:{whole:02}.{milli:03}"
    assert seconds(text) == hours * 3600 + minutes * 60 + float(f"{whole}.{milli:03}")
