"""Agreement on levels, and what the page says of descriptions."""

import math
from pathlib import Path

import numpy as np
import pytest

from cache import tables
from cache.errors import UserError
from pipeline.config import layout
from stages.report.descriptions import LEVELS, agreement, agreement_command, judges, read_descriptions
from stages.report.page import render

EVIL = '<script>alert("x")</script>'


def by_definition(first, second):
    """Kappa in words: (observed - expected) / (1 - expected)."""
    both = first.keys() & second.keys()
    observed = sum(first[one] == second[one] for one in both) / len(both)
    expected = sum(
        sum(first[one] == level for one in both) * sum(second[one] == level for one in both) / len(both) ** 2
        for level in LEVELS
    )
    return observed, (observed - expected) / (1 - expected)


def test_agreement_is_as_defined():
    dice = np.random.default_rng(1)
    first = {str(i): LEVELS[dice.integers(3)] for i in range(200)}
    second = {id: level if dice.random() < 0.6 else LEVELS[dice.integers(3)] for id, level in first.items()}
    second |= {"other": "low"}
    del second["0"]
    found = agreement(first, second)
    observed, kappa = by_definition(first, second)
    assert found.n == 199
    assert found.exact == pytest.approx(observed) and found.kappa == pytest.approx(kappa)
    assert 0.3 < kappa < 0.9


def test_agreement_of_a_published_example():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.70, by chance 0.50, kappa 0.40.
    pairs = [("low", "low")] * 20 + [("low", "high")] * 5 + [("high", "low")] * 10 + [("high", "high")] * 15
    first, second = ({str(i): pair[side] for i, pair in enumerate(pairs)} for side in (0, 1))
    found = agreement(first, second)
    assert found.exact == pytest.approx(0.7) and found.kappa == pytest.approx(0.4)
    assert found.table.tolist() == [[20, 0, 5], [0, 0, 0], [10, 0, 15]]


def test_perfect_chance_and_undefined_agreement():
    assert agreement({"a": "low", "b": "high"}, {"a": "low", "b": "high"}).kappa == 1.0
    assert math.isnan(agreement({"a": "low"}, {"a": "low"}).kappa)
    assert math.isnan(agreement({"a": "low"}, {"b": "low"}).exact)


@pytest.fixture
def corpus(project):
    def write(path, rows, schema):
        tables.write_table(tables.table(rows, schema), schema, path)

    texts = {"c0": "cut onion", "c1": EVIL, "c2": "look"}
    said = {"one": ("high", "low", "low"), "two": ("high", "low", "moderate")}
    rows = [
        {
            "source": f"described-{name}",
            "caption_id": id,
            "text": text,
            "description": None if id == "c2" else f"{name} hears {text}",
            "level": level,
            "model": f"model {name}",
        }
        for name, levels in said.items()
        for (id, text), level in zip(texts.items(), levels, strict=True)
    ]
    subsets = [
        {"subset": f"described-{name}-{level}", "kind": kind, "id": id}
        for name, levels in said.items()
        for kind, ids in (("caption", texts), ("clip", ["0.mp4", "1.mp4", "2.mp4"]))
        for id, level in zip(ids, levels, strict=True)
    ]
    published = [("low", "0.mp4"), ("low", "1.mp4"), ("high", "2.mp4"), ("high", "twice.mp4"), ("low", "twice.mp4")]
    own = [{"subset": level, "kind": "clip", "id": id} for level, id in published]
    own += [{"subset": "very-low", "kind": "clip", "id": "0.mp4"}]
    write(layout.described("mine", "descriptions"), rows, tables.DESCRIPTIONS)
    write(layout.described("mine", "subsets"), subsets, tables.SUBSETS)
    write(layout.table("mine", "subsets"), own, tables.SUBSETS)
    Path("params.yaml").write_text("corpora: {mine: {media: m, annotations: a}}\nembeddings: {}\nsubsets: {}\n")


def test_models_and_annotations_are_judges(corpus):
    found = judges("mine")
    assert list(found) == ["annotated", "described-one", "described-two"]
    assert found["annotated"] == {"clip": {"0.mp4": "low", "1.mp4": "low", "2.mp4": "high"}}
    assert found["described-one"]["caption"] == {"c0": "high", "c1": "low", "c2": "low"}


def test_agreement_is_said(corpus, capsys):
    agreement_command("mine", "described-one", "described-two")
    said = capsys.readouterr().out
    assert "3 judged by both: 66.7% the same level, Cohen's kappa 0.500" in said
    assert [line.split() for line in said.splitlines()[3:]] == [
        ["low", "1", "1", "0"],
        ["moderate", "0", "0", "0"],
        ["high", "0", "0", "1"],
    ]
    agreement_command("mine", "annotated", "described-one")
    assert "3 judged by both: 33.3% the same level" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"Nobody called 'described-tow' .* did you mean 'described-two'"):
        agreement_command("mine", "described-tow", "annotated")


def test_the_page_shows_captions_descriptions_levels_and_agreement(corpus):
    described = read_descriptions("mine")
    assert described is not None and described.n_rows == 6
    assert [row["caption_id"] for row in described.rows] == ["c0", "c0", "c1", "c1", "c2", "c2"]
    html = render([], [], "t", {}, described=[described])
    for text in ("one hears cut onion", "model two", "described-one and described-two", "66.7 %", "0.500"):
        assert text in html, text
    assert "<script>alert" not in html and "two hears &lt;script&gt;" in html
    assert "#descriptions" not in render([], [], "t", {})


def test_a_corpus_that_nobody_described_has_no_section(project):
    assert read_descriptions("mine") is None
