"""`hearonce compare` on results in their files."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cache import tables
from cache.errors import UserError
from pipeline.config import layout
from stages.score.compare import compare


def write(name, ranks, corpus="mine", subset="all", protocol="paired-retrieval"):
    folder = layout.results(corpus, subset)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text()) if path.exists() else {}
    metrics[name] = {"text_to_clip": {"R@1": 0.0, "MeanR": 0.0, "MedR": 0.0}}
    path.write_text(json.dumps(metrics))
    queries = pl.DataFrame(
        [
            {"experiment": name, "direction": "text_to_clip", "kind": "queries", "query_id": one, "rank": float(rank)}
            for one, rank in ranks.items()
        ],
        schema=dict(tables.QUERIES),
    )
    if (path := folder / "queries.parquet").exists():
        queries = pl.concat([tables.read_table(path, tables.QUERIES), queries])
    tables.write_table(queries, tables.QUERIES, path)
    Path(f"configs/experiments/{corpus}").mkdir(exist_ok=True)
    Path(f"configs/experiments/{corpus}/{name}.yaml").write_text(
        f"corpus: {corpus}\nencoders: [e]\nprotocol: {protocol}\n"
    )


@pytest.fixture
def two(project):
    random = np.random.default_rng(0)
    ranks = {f"q{one}": int(random.integers(2, 9)) for one in range(30)}
    write("mine-old", ranks)
    write("mine-new", {**{one: 1 for one in ranks}, "q30": 1, "q31": 1})


def test_both_values_difference_p_and_what_was_left_out_are_said(two, capsys):
    compare("mine-new", "mine-old")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "mine-new and mine-old on mine (all)"
    row = next(line for line in lines if "R@1" in line).split("│")
    assert [cell.strip() for cell in row[1:-1]] == ["text to clip", "R@1", "100.00", "0.00", "+100.00", "0.0001", "30"]
    assert "text to clip: left out 2 queries that only mine-new has and 0 that only mine-old has." in lines
    assert not any("MedR" in line for line in lines)


def test_a_subset_has_its_own_queries(two, capsys):
    write("mine-old", {"q1": 4}, subset="few")
    with pytest.raises(UserError, match=r"'mine-new' has no numbers on mine \(few\)"):
        compare("mine-new", "mine-old", "few")
    compare("mine-old", "mine-old", "few")
    assert "mine-old and mine-old on mine (few)" in capsys.readouterr().out


def test_captions_of_two_sources_match_where_the_source_alone_differs(project, capsys):
    told = {"mine-labels": "visual", "mine-told": "gpt"}
    for name, source in told.items():
        write(name, {f"{source}:P01_{one}": 2 if source == "gpt" else 1 for one in range(4)} | {f"{source}:{name}": 1})
        config = Path(f"configs/experiments/mine/{name}.yaml")
        config.write_text(f"{config.read_text()}captions: {source}\n")
    compare(*told)
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if "R@1" in line).split("│")
    assert [cell.strip() for cell in row[3:-1]] == ["100.00", "0.00", "+100.00", "0.1250", "4"]
    assert "left out 1 queries that only mine-labels has and 1 that only mine-told has" in said


@pytest.mark.parametrize(
    ("names", "subset", "message"),
    [
        (("mine-new", "mine-odl"), "all", "No experiment 'mine-odl'.*did you mean 'mine-old'"),
        (("mine-new", "demo-audio"), "all", "'mine-new' is on corpus 'mine' and 'demo-audio' on 'demo'"),
        (("demo-audio", "demo-both"), "all", "'demo-audio' has no results yet .*data/results/demo/all.*dvc repro"),
        (("mine-new", "mine-old"), "fwe", "No subset 'fwe' of 'mine': did you mean 'few'"),
        (("mine-new", "mine-old"), "few", "Subset 'few' of 'mine' has not been scored"),
        (("mine-new", "mine-apart"), "all", r"\(paired-retrieval\) and 'mine-apart' \(multi-instance\) share no query"),
        (("mine-new", "mine-empty"), "all", r"'mine-empty' has no numbers on mine \(all\): nothing came through"),
    ],
)
def test_mistakes_are_one_sentence(two, names, subset, message):
    write("mine-apart", {"other": 1}, protocol="multi-instance")
    write("mine-empty", {})
    folder = layout.results("mine", "all")
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, "mine-empty": {}}))
    (folder / "details.json").write_text('{"mine-empty": {"nothing": "nothing came through"}}')
    Path("configs/subsets/mine").mkdir(parents=True)
    Path("configs/subsets/mine/few.yaml").write_text("clips: [a]\n")
    with pytest.raises(UserError, match=message):
        compare(*names, subset)
