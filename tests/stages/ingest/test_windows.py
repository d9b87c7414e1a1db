from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.records import validate
from pipeline.media.containers import MediaError
from stages.ingest.windows import cut, relevant

OVERLAPPING = CorpusConfig(window_s=4.0, hop_s=2.0)


def test_shots_are_cut_at_boundaries_and_long_ones_into_windows():
    config = CorpusConfig(clips_from="shots", window_s=4.0, min_window_s=1.0)
    assert cut(9.0, config, (2.0, 2.5, 5.0, 8.5)) == [(0, 2), (2, 5), (5, 9)]
    assert cut(19.5, config, (3.0,)) == [(0, 3), (3, 7), (7, 11), (11, 15), (15, 19.5)]
    assert cut(9.0, config.model_copy(update={"hop_s": 2.0}), (1.0,)) == [(0, 1), (1, 5), (3, 7), (5, 9)]
    assert cut(20.0, config.model_copy(update={"window_s": None}), (3.0,)) == [(0, 3), (3, 20)]


def test_a_medium_cut_into_too_many_windows_is_refused_by_its_hop():
    config = CorpusConfig.model_validate({"window_s": 4.0, "hop_s": 0.5, "limits": {"max_windows": 10}})
    with pytest.raises(MediaError, match="max_windows"):
        cut(20.0, config)
    assert len(cut(20.0, config.model_copy(update={"hop_s": 2.0}))) == 9


@given(
    st.floats(0.1, 200),
    st.floats(0.5, 30),
    st.floats(0.05, 1),
    st.lists(st.floats(0, 200)).map(sorted),
    st.floats(0, 3),
)
@example(22.0, 1.0785921479017642, 0.9999999999999999, [], 1.0)
def test_windows_cover_a_medium_without_gap(duration_s, window_s, share, boundaries_s, shortest_s):
    config = CorpusConfig(window_s=window_s, hop_s=share * window_s, min_window_s=shortest_s)
    windows = cut(duration_s, config, boundaries_s)
    assert windows[0][0] == 0 and windows[-1][1] == duration_s
    for (start_s, stop_s), (next_start_s, next_stop_s) in pairwise(windows):
        assert (
            start_s < next_start_s <= stop_s + 1e-9 and stop_s < next_stop_s
        )  # a hop may be a window but for rounding
    assert all(stop_s - start_s >= min(shortest_s, duration_s, window_s) - 1e-6 for start_s, stop_s in windows)


@given(
    st.floats(0.1, 200), st.floats(0.5, 30), st.floats(0.05, 1), st.lists(st.floats(0, 200)).map(sorted),
    st.floats(0, 0.99), st.floats(0, 1),
)  # fmt: skip
def test_each_caption_has_a_relevant_window_and_the_rule_is_the_stated_one(
    duration_s, window_s, share, boundaries_s, first, length
):
    windows = cut(duration_s, CorpusConfig(window_s=window_s, hop_s=share * window_s), boundaries_s)
    start_s = first * duration_s
    stop_s = start_s + length * (duration_s - start_s)
    found = relevant(windows, start_s, stop_s)
    assert found
    if stop_s <= start_s:
        return
    for number, (a, b) in enumerate(windows):
        excess = min(b, stop_s) - max(a, start_s) - 0.5 * min(b - a, stop_s - start_s)
        assert abs(excess) < 2e-6 or (number in found) == (excess > 0)


@pytest.mark.parametrize(
    ("start_s", "stop_s", "windows"),
    [
        (0.0, 2.0, [0]),
        (1.0, 3.0, [0, 1]),
        (3.0, 5.0, [0, 1, 2]),  # half of it in the first and in the last
        (3.1, 5.0, [1, 2]),
        (0.0, 30.0, [0, 1, 2, 3]),
        (1.0, 7.5, [0, 1, 2]),
        (5.0, 5.0, [1, 2]),
    ],
)
def test_relevant_windows_by_example(start_s, stop_s, windows):
    assert relevant(cut(10.0, OVERLAPPING), start_s, stop_s) == windows


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hop_s": 0}, "hop_s"),
        ({"window_s": 4, "hop_s": 5}, "hop_s 5 is longer than window_s 4, which would leave gaps"),
        ({"window_s": None, "hop_s": 2}, "hop_s is given and window_s is null"),
        ({"reader": "epic-mir", "clips_from": "shots"}, "clips_from: shots is for reader folder or webdataset"),
        ({"shots": {"detector": "adaptive", "threshold": 20}}, "detector adaptive has no threshold"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence) as caught:
        validate(settings, CorpusConfig, tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value) and "mine.yaml" in str(caught.value)
