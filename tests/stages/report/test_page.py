"""The page as a whole: complete, self-contained, escaped, well-formed."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cache import tables
from stages.report.audio import encode_snippet
from stages.report.page import MANY, MAX_PROBLEMS, render
from stages.report.results import ExperimentResult, Hit, QueryExample

EVIL = '<script>alert("x")</script>\'" onload=bad() & {{ 7 * 7 }}'
SOUND = encode_snippet(np.sin(np.arange(4000) / 10).astype(np.float32), 16000)
OTHER = encode_snippet(np.cos(np.arange(4000) / 9).astype(np.float32), 16000)
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects elements and texts, and checks that every element is closed in its place."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self._open = [], [], []
        self.feed(html)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open[-1:]):
            self.texts.append(" ".join(data.split()))

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def scores(value):
    row = {"R@1": value, "R@5": value, "R@10": value, "MedR": 3.0, "mAP": 0.25, "nDCG": 0.125}
    row |= {"n_queries": 1234, "n_items": 12}
    return {"low": {"clip_to_text": row, "text_to_clip": row}, "all": {"clip_to_text": row, "text_to_clip": row}}


def result(name="demo", **changes):
    query = QueryExample("a horn", 1, "horn", SOUND, [Hit("horn", 0.5, SOUND, True), ("bell", 0.25, OTHER, False)])
    missed = QueryExample("a bell", 7, "bell", None, [("horn", 0.75, SOUND, False)])
    settings = {
        "name": name,
        "corpus": "demo",
        "encoders": ["yamnet-minilm"],
        "caption_source": "visual",
        "protocol": "paired-retrieval",
        "metrics": scores(41.7),
        "chance": scores(2.1),
        "heatmap": np.eye(3, dtype=np.float32),
        "caption_labels": ["a horn", "a bell", "a dog"],
        "clip_labels": ["horn", "bell", "dog"],
        "queries": [missed, query],
    }
    return ExperimentResult(**settings | changes)


def page(*results, problems=(), title="Report", made_from=None, n_silent=0):
    html = render(list(results), list(problems), title, made_from or {"commit": "abc123"}, n_silent)
    return html, Page(html)


def test_shows_scores_beside_chance_and_paper():
    _, shown = page(result(paper={"all": {"text_to_clip": {"mAP": 0.166}}}))
    for text in ("41.7", "2.1", "0.250", "0.166", "1,234", "Text → clip", "Clip → text", "low", "abc123", "paper"):
        assert text in shown.texts, text
    assert shown.texts.index("Text → clip") < shown.texts.index("Clip → text")
    assert len([svg for svg in shown.all("svg") if "bars" in svg["class"]]) == 2


def test_ours_stands_beside_the_papers_with_interval_and_difference():
    given = {
        "paper": {"all": {"text_to_clip": {"R@1": 43.0}}},
        "intervals": {"all": {"text_to_clip": {"R@1": (39.5, 44.0)}}},
    }
    _, shown = page(result(**given), result("second", metrics=scores(40.0)))
    texts = " ".join(" ".join(shown.texts).split())
    assert "95 % for all [39.5, 44.0]" in texts
    assert "paper for all 43.0" in texts and "ours − paper for all −1.3" in texts
    assert "43.0 (−1.3)" in shown.texts
    assert {"title": "95 % interval [39.5, 44.0]"} in shown.all("td")


def test_the_overview_has_a_table_for_each_corpus_and_seeds_share_a_row():
    average = {"all": {"average": {"mAP": 0.1, "nDCG": 0.25}}}
    seeds = [
        result(f"seed {n}", corpus="kitchens", protocol="multi-instance", metrics=metrics, chance={}, seeds_of="tuned")
        for n, metrics in enumerate([average, {"all": {"average": {"mAP": 0.2, "nDCG": 0.25}}}])
    ]
    _, shown = page(result(), *seeds)
    assert {"Overview: demo", "Overview: kitchens"} <= set(shown.texts)
    row = shown.texts[shown.texts.index("tuned") :]
    assert [text for text in row if text][:9] == [
        "tuned",
        "yamnet-minilm · visual",
        "2 seeds:",
        "1",
        ",",
        "2",
        "0.150",
        "± 0.071",
        "0.250",
    ]
    assert any("sample standard deviation over seeds" in text for text in shown.texts)


def test_classes_are_folded_with_their_extremes():
    rows = [
        {"experiment": "demo", "direction": "clip_to_text", "class": f"class {n}", "metric": "mAP", "value": n / 1000}
        for n in range(30)
    ]
    _, shown = page(result(classes=tables.table(rows, tables.CLASSES)))
    assert "30 classes: the best and the worst, and all" in shown.texts
    places = [shown.texts.index(text) for text in ("Best", "class 29", "Worst", "class 0")]
    assert places == sorted(places)
    assert shown.texts.count("class 15") == 1 and shown.texts.count("class 29") == 2


def test_many_experiments_are_folded_and_small():
    picture = np.random.default_rng(0).random((400, 400), np.float32)
    few, _ = page(*(result(f"one {n}", heatmap=picture) for n in range(2)))
    many, shown = page(*(result(f"one {n}", heatmap=picture) for n in range(MANY + 1)))
    assert len(many) - len(few) < (len(few) / 2) * (MANY - 1) / 3
    assert len(shown.all("details")) == MANY + 1
    links = [link["href"] for link in shown.all("a")]
    assert links.count("#experiment-1") == 2 and len(shown.all("img")) == MANY + 1


def test_says_how_many_sounds_had_no_room():
    assert "12 clips among the examples have no sound here" in " ".join(page(result(), n_silent=12)[1].texts)


def test_is_one_file_that_asks_for_nothing_else():
    html, shown = page(result(), result("second"))
    for tag, attrs in shown.elements:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            value = attrs.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    assert not re.search(r"@import|url\(|https?://", html)
    policy = next(m["content"] for m in shown.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_everything_a_person_wrote_is_escaped():
    query = QueryExample(EVIL, 1, EVIL, SOUND, [(EVIL, 0.5, SOUND, True)])
    evil = result(
        EVIL,
        corpus=EVIL,
        encoders=[EVIL],
        caption_source=EVIL,
        protocol=EVIL,
        metrics={EVIL: {EVIL: {EVIL: 1.0, "R@1": 1.0}}},
        chance={EVIL: {EVIL: {EVIL: 1.0}}},
        caption_labels=[EVIL] * 3,
        clip_labels=[EVIL] * 3,
        queries=[query],
    )
    problem = {"stage": EVIL, "id": EVIL, "path": EVIL, "reason": EVIL}
    html, shown = page(evil, evil, problems=[problem], title=EVIL, made_from={EVIL: EVIL})
    assert "<script>alert" not in html
    assert len(shown.all("script")) == 1
    assert not [attrs for _, attrs in shown.elements if "onload" in attrs]
    assert sum(EVIL in text for text in shown.texts) > 20
    assert "49" not in shown.texts


def test_audio_plays_from_the_page_and_is_stored_once():
    _, shown = page(result(), result("second"))
    players = shown.all("audio")
    assert len(players) == 8
    stored = [player["src"] for player in players if "src" in player]
    assert stored == [f"data:audio/mpeg;base64,{base64.b64encode(sound).decode()}" for sound in (SOUND, OTHER)]
    ids = {player["id"] for player in players if "src" in player}
    assert {player["data-same-as"] for player in players if "src" not in player} <= ids
    assert all("controls" in player and player["aria-label"] for player in players)


def test_queries_are_split_into_best_and_worst():
    _, shown = page(result())
    places = [shown.texts.index(text) for text in ("Best answered", "a horn", "Worst answered", "a bell")]
    assert places == sorted(places)
    assert [li.get("class") for li in shown.all("li") if li.get("class")] == ["match"]


def test_tables_have_headers_and_captions():
    _, shown = page(result(), result("second"), problems=[{"stage": "s", "id": "i", "path": "p", "reason": "r"}])
    assert len(shown.all("caption")) == len(shown.all("table")) == 5
    assert all(header.get("scope") in {"col", "colgroup", "row", "rowgroup"} for header in shown.all("th"))
    assert all(image["alt"] for image in shown.all("img"))
    ids = [attrs["id"] for _, attrs in shown.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [link["href"][1:] for link in shown.all("a")]
    assert targets and set(targets) <= set(ids)


def test_heat_map_names_its_cells_where_labels_fit():
    _, shown = page(result())
    assert shown.all("img")[0]["data-labels"] == '[["a horn", "a bell", "a dog"], ["horn", "bell", "dog"]]'
    for changes in ({"caption_labels": ()}, {"clip_labels": ["one"]}):
        assert "data-labels" not in page(result(**changes))[1].all("img")[0]


@pytest.mark.parametrize("heatmap", [None, np.zeros((0, 0), np.float32)])
def test_shows_what_there_is(heatmap):
    _, shown = page(result(heatmap=heatmap, queries=[], metrics={}, chance={}, paper={}))
    assert not shown.all("img") and not shown.all("audio") and not shown.all("svg")


def test_other_metrics_get_a_column_and_missing_numbers_a_dash():
    _, shown = page(result(metrics={"inter": {"text_to_clip": {"accuracy": float("nan")}}}, chance={}))
    assert "accuracy" in shown.texts and "–" in shown.texts and not shown.all("svg")


def test_no_experiments_and_no_problems():
    _, shown = page()
    assert "No experiment has been scored yet." in shown.texts
    assert "None: every item was processed." in shown.texts


def test_many_problems_are_counted_and_cut():
    problems = [{"stage": "embed", "id": f"clip-{i}", "path": f"{i}.mp4", "reason": f"r{i % 3}"} for i in range(1200)]
    _, shown = page(problems=problems)
    assert "1,200 items could not be processed in full." in shown.texts
    assert shown.texts.count("400") == 3
    assert len([row for row in shown.all("td") if row.get("dir") == "auto"]) == MAX_PROBLEMS


def test_same_input_gives_the_same_page():
    assert page(result())[0] == page(result())[0]
