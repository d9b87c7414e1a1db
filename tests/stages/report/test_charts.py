"""Bar charts as SVG."""

from xml.etree import ElementTree

import pytest

from stages.report import charts

NAMES = {"a": "Text → clip"}


def bars(values, chance=None, top=100):
    root = ElementTree.fromstring(str(charts.recall_bars(values, chance or {}, NAMES, top)))
    return root, [float(bar.get("width")) for bar in root.iter("rect")]


def test_bars_are_as_long_as_their_values():
    full = charts.RIGHT - charts.LEFT
    root, widths = bars({"a": {"R@1": 25.0, "R@5": 50.0, "R@10": 100.0}})
    assert widths == pytest.approx([full / 4, full / 2, full], abs=0.1)
    assert [text.text for text in root.iter("text") if text.get("class") == "value"] == ["25.0", "50.0", "100.0"]


def test_chance_is_marked_and_spoken():
    root, _ = bars({"a": {"R@1": 25.0}}, {"a": {"R@1": 50.0}})
    mark = next(path for path in root.iter("path") if path.get("class") == "chance")
    assert float(mark.get("d")[1:].split()[0]) == pytest.approx((charts.LEFT + charts.RIGHT) / 2)
    assert root.get("aria-label") == "Text → clip R@1 25.0 %, chance 50.0 %"


def test_without_chance_there_is_no_mark():
    root, _ = bars({"a": {"R@1": 25.0}}, {"a": {"R@1": float("nan")}})
    assert not [path for path in root.iter("path") if path.get("class") == "chance"]


def test_nan_is_a_dash_without_a_bar():
    root, widths = bars({"a": {"R@1": float("nan")}})
    assert widths == [0] and "–" in [text.text for text in root.iter("text")]


def test_names_are_escaped():
    root, _ = bars({"<b>&": {"R@1": 1.0}})
    assert "<b>&" in [text.text for text in root.iter("text")]


def test_without_recalls_there_is_no_chart():
    assert charts.recall_bars({"a": {"accuracy": 90.0}}, {}, NAMES, 100) == ""


@pytest.mark.parametrize(
    ("highest", "top"), [(0.4, 5), (5, 5), (9, 10), (55, 60), (81, 100), (100, 100), (float("nan"), 100)]
)
def test_the_scale_ends_at_a_round_number(highest, top):
    assert charts.scale_top([{"a": {"R@1": highest, "MedR": 500.0}}]) == top
    assert charts.scale_top([]) == 100
