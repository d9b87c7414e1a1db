"""How scores become rows of text."""

import pytest

from stages.report import tables


def test_known_metrics_stand_first_and_sizes_are_no_metrics():
    scores = {"all": {"text_to_clip": {"n_items": 3, "new": 1.0, "nDCG": 0.5, "R@1": 2.0}}}
    assert tables.columns(scores) == ["R@1", "nDCG", "new"]


def test_the_whole_stands_first_and_directions_in_their_order():
    row = {"R@1": 1.0}
    scores = {"a": {"clip_to_text": row, "other": row, "text_to_clip": row}, "all": {"clip_to_text": row}}
    arranged = tables.arranged(scores)
    assert list(arranged) == ["all", "a"]
    assert list(arranged["a"]) == ["text_to_clip", "clip_to_text", "other"]


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("R@1", 12.345, "12.3"),
        ("mAP", 0.12345, "0.123"),
        ("MedR", 8.5, "8.5"),
        ("new", 90.7, "90.7"),
        ("new", 0.12345, "0.123"),
        ("R@1", float("nan"), "–"),
        ("R@1", None, "–"),
    ],
)
def test_numbers_have_the_decimals_of_their_metric(metric, value, text):
    assert tables.number(metric, value) == text


def test_intervals_chance_and_paper_stand_below_the_value_where_there_are_any():
    own = {"R@1": 50.0, "mAP": 0.5, "n_queries": 1200, "n_items": 3}
    scores = {"all": {"text_to_clip": own}, "low": {"text_to_clip": {"mAP": 0.25}}, "high": {"other": {}}}
    chance = {"all": {"text_to_clip": {"R@1": 2.0}}}
    paper = {"all": {"clip_to_text": {"R@1": 9.0}}, "low": {"text_to_clip": {"mAP": 0.3, "R@1": 1.0}}}
    intervals = {"all": {"text_to_clip": {"mAP": (0.41, 0.6251)}}}
    assert tables.lines("text_to_clip", ["R@1", "mAP"], scores, chance, paper, intervals) == [
        ("value", "all", ["50.0", "0.500"], ["1,200", "3"]),
        ("interval", "all", ["", "[0.410, 0.625]"], ["", ""]),
        ("chance", "all", ["2.0", ""], ["", ""]),
        ("value", "low", ["–", "0.250"], ["–", "–"]),
        ("paper", "low", ["1.0", "0.300"], ["", ""]),
        ("difference", "low", ["", "−0.050"], ["", ""]),
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        (12.34, 12.0, "+0.3"),
        (12.0, 12.34, "−0.3"),
        (12.34, 12.33, "±0.0"),
        (float("nan"), 1.0, "–"),
        (1.0, None, "–"),
        (None, 1.0, "–"),
    ],
)
def test_a_difference_has_its_sign(ours, theirs, text):
    assert tables.difference("R@1", ours, theirs) == text


def test_arrows_and_unknown_directions():
    assert (tables.arrow("R@1"), tables.arrow("MedR"), tables.arrow("new")) == ("↑", "↓", "")
    assert tables.in_order(["new", "average", "text_to_clip", "new"]) == ["text_to_clip", "average", "new"]
    assert tables.direction_name("intra_video") == "Intra-video"
    assert tables.direction_name("sound_to_sight") == "sound to sight"
