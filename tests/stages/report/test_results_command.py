"""`hearonce results` on results in their files."""

import json
from pathlib import Path

import numpy as np
import pytest

from cache import tables
from cache.errors import UserError
from pipeline.config import layout
from stages.report.command import results

BOTH = ("text_to_clip", "clip_to_text")


def write(name, recall, corpus="mine", **details):
    folder = layout.results(corpus, "all")
    folder.mkdir(parents=True, exist_ok=True)
    extend(folder / "metrics.json", {name: {one: {"R@1": recall, "MedR": None} for one in BOTH}})
    given = {
        "experiment": name,
        "corpus": corpus,
        "encoders": ["e", "f"],
        "captions": ["visual", "gpt"],
        "protocol": "paired-retrieval",
        "transform": "none",
        "note": "",
        "paper": {"all": {"text_to_clip": {"R@1": 30.0}}},
        "seeds_of": "",
        "chance": {one: {"R@1": 2.5} for one in BOTH},
        "counts": {},
        "intervals": {"text_to_clip": {"R@1": [9.0, 11.0]}},
        "examples": [],
    }
    extend(folder / "details.json", {name: given | details})
    np.savez(folder / "similarity.npz")
    tables.write_table(tables.table([], tables.CLASSES), tables.CLASSES, folder / "classes.parquet")


def extend(path, more):
    path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | more))


@pytest.fixture
def scored(project):
    entries = [
        {"corpus": corpus, "encoder": encoder, "config": "c", "reads": "r"}
        for corpus in ("mine", "other")
        for encoder in "ef"
    ]
    Path("params.yaml").write_text(
        f"corpora: {json.dumps({one: {'media': 'm', 'annotations': 'a'} for one in ('mine', 'other', 'new')})}\n"
        f"embeddings: {json.dumps({str(number): entry for number, entry in enumerate(entries)})}\n"
        "subsets: {few: {corpus: mine, subset: few}, mine: {corpus: mine, subset: all}, "
        "other: {corpus: other, subset: all}}\n"
    )
    write("one", 10.0)
    write("seed-1", 20.0, seeds_of="tuned")
    write("seed-2", 24.0, seeds_of="tuned")
    write("gone", 90.0, encoders=["e", "no longer in params.yaml"])
    write("far", 77.0, "other", paper={})
    write("empty", 0.0, "other", nothing="no clip came through")
    folder = layout.results("mine", "few")
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"one": {"text_to_clip": {"R@1": 55.5}}}))
    (folder / "details.json").write_text(json.dumps({"one": {"chance": {}, "counts": {}, "intervals": {}}}))
    np.savez(folder / "similarity.npz")
    tables.write_table(tables.table([], tables.CLASSES), tables.CLASSES, folder / "classes.parquet")


def shown(capsys):
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    return lines, rows


def test_all_experiments_stand_in_the_tables_of_their_corpora(scored, capsys):
    results()
    lines, rows = shown(capsys)
    assert rows == [
        ["one", "10.0", "–", "10.0", "–"],
        ["paper", "30.0", "–", "–", "–"],
        ["tuned (2 seeds)", "22.0 ± 2.8", "–", "22.0 ± 2.8", "–"],
        ["paper", "30.0", "–", "–", "–"],
        ["chance", "2.5", "–", "2.5", "–"],
        ["one", "55.5"],
        ["tuned (2 seeds)", "–"],
        ["far", "77.0", "–", "77.0", "–"],
        ["chance", "2.5", "–", "2.5", "–"],
    ]
    assert "± is the sample standard deviation over seeds (n - 1)." in lines
    assert "empty has no numbers: no clip came through" in lines


def test_one_corpus_and_one_subset(scored, capsys):
    results("other")
    assert [row[0] for row in shown(capsys)[1]] == ["far", "chance"]
    results("mine", "few")
    lines, rows = shown(capsys)
    assert rows == [["one", "55.5"], ["tuned (2 seeds)", "–"]]
    assert lines[0].strip() == "mine (few): paired-retrieval, R@1"


@pytest.mark.parametrize(
    ("corpus", "subset", "message"),
    [
        ("mien", "all", "No corpus 'mien' in params.yaml: did you mean 'mine'"),
        ("new", "all", "No experiment on 'new' has results yet: run `dvc repro`"),
        ("", "fwe", "No experiment is scored on subset 'fwe': did you mean 'few'"),
    ],
)
def test_mistakes_are_one_sentence(scored, corpus, subset, message):
    with pytest.raises(UserError, match=message):
        results(corpus, subset)


def test_without_any_results_it_says_what_to_run(project):
    with pytest.raises(UserError, match="There are no results yet: run `dvc repro`"):
        results()


def test_results_of_an_older_version_are_named(scored):
    path = layout.results("mine", "all") / "details.json"
    path.write_text(path.read_text().replace('"intervals"', '"earlier"'))
    with pytest.raises(UserError, match="data/results/mine/all lack 'intervals', an older hearonce wrote them: run"):
        results()
