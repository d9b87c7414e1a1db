"""`import hearonce`: docs/python.md runs as it stands, and gives what the stages give."""

import json
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from clone import REPOSITORY

import hearonce as facade
from cache.artifact import open_artifact
from pipeline.config import layout
from pipeline.config.experiments import load_experiment

EXAMPLES = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/python.md").read_text(), re.S)


def test_importing_is_cheap():
    code = "import hearonce, sys; print(dir(hearonce)); print([name for name in sys.modules if name in sys.argv[1:]])"
    heavy = ("torch", "numpy", "polars", "pydantic", "typer", "dask", "transformers", "av")
    found = subprocess.run(
        [sys.executable, "-c", code, *heavy], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    names, loaded = found.stdout.splitlines()
    assert loaded == "[]" and all(repr(name) in names for name in facade.__all__)


@pytest.mark.parametrize("name", facade.__all__)
def test_every_name_is_there(name):
    assert callable(getattr(facade, name)) and name in dir(facade)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'encode'"):
        _ = facade.encode


def test_the_document_runs_and_gives_what_the_stages_give(demo, capsys):
    names: dict = {}
    assert len(EXAMPLES) == 5
    for example in EXAMPLES:
        exec(example, names)
    stored = open_artifact(layout.embeddings("demo", "yamnet-minilm", "clips"))
    np.testing.assert_array_equal(names["clips"].numpy(), stored.numpy())
    np.testing.assert_array_equal(names["three"], stored.numpy()[[0, 5, 7]])
    np.testing.assert_allclose(names["mean"], stored.numpy().mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(names["clips"].torch().numpy(), stored.numpy())

    of_the_stage = stored[stored.ids.index("cat-meow.mp4")]
    np.testing.assert_allclose(names["rows"][0], of_the_stage, atol=1e-5)
    assert np.abs(names["rows"][1] - stored[stored.ids.index("dogs-barking.mp4")]).max() > 1e-3  # only its first second
    text = facade.table("demo", "captions").row(
        by_predicate=pl.col("caption_id") == names["captions"].ids[3], named=True
    )
    np.testing.assert_allclose(names["encoder"].captions([text["text"]])[0], names["captions"][3], atol=1e-5)
    assert names["similarities"].shape == (2, 2) and len(np.unique(names["similarities"])) == 4

    scored = names["scored"]["text_to_clip"]
    for metric in ("R@1", "R@5", "R@10", "MedR", "MeanR", "mAP", "nDCG"):
        assert names["numbers"][metric] == pytest.approx(scored[metric], abs=1e-9)
    table = names["results"].filter(subset="all", direction="text_to_clip")
    assert set(table["experiment"]) == {"demo-audio"}
    for metric, value, chance, low, high in table.select("metric", "value", "chance", "low", "high").iter_rows():
        if metric in scored:
            assert value == pytest.approx(scored[metric], abs=1e-6)  # as written
        if metric in ("R@1", "R@5", "R@10"):
            assert low <= value <= high and 0 < chance < 50
    out = capsys.readouterr().out
    assert f"R@1 {scored['R@1']:.1f}, median rank" in out and "demo-audio" in out and "chance" in out

    half = demo / "configs/subsets/demo/half.yaml"
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_text("clips: " + json.dumps(stored.ids[::2]) + "\n")
    subset = facade.score_experiment("demo-audio", "half")["text_to_clip"]
    assert subset["MeanR"] < scored["MeanR"] and load_experiment("demo-audio").corpus == "demo"
    assert_mistakes_are_named()


def assert_mistakes_are_named():
    for call, message in (
        (lambda: facade.embeddings("demos", "yamnet-minilm"), "no embeddings of 'demos': did you mean 'demo'"),
        (lambda: facade.embeddings("demo", "yamnet"), "no embeddings of 'yamnet': did you mean 'yamnet-minilm'"),
        (lambda: facade.embeddings("demo", "yamnet-minilm", "clip"), "no 'clip': did you mean 'clips'"),
        (lambda: facade.table("demo", "pair"), "No table is called 'pair': did you mean 'pairs'"),
        (lambda: facade.table("demos", "pairs"), r"pairs\.parquet is missing: run `dvc repro`"),
        (lambda: facade.results("demos"), "No results of 'demos': did you mean 'demo'"),
        (lambda: facade.results(experiments=["demo-odio"]), "No results of 'demo-odio': did you mean 'demo-audio'"),
        (lambda: facade.encoder("yamnet-mini"), "yamnet-minilm"),
        (
            lambda: facade.encoder("yamnet-minilm").clips([("configs/corpora/demo/media/burp.mp4", 1.0, 999.0)]),
            r"burp\.mp4: no segment from 1\.0 s to 999\.0 s: it lasts",
        ),
    ):
        with pytest.raises(facade.UserError, match=message):
            call()


def test_there_is_nothing_yet(project):
    with pytest.raises(facade.UserError, match="no embeddings of 'demo': run `dvc repro`"):
        facade.embeddings("demo", "yamnet-minilm")


QUERIES = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
GALLERY = np.array([[2.0, 0.1], [0.1, 3.0], [1.0, -1.0]])


def test_scores_of_arrays():
    same = facade.score(QUERIES, GALLERY)
    assert same["R@1"] == pytest.approx(200 / 3) and same["MeanR"] == pytest.approx(5 / 3) and same["n_queries"] == 3
    assert facade.score(QUERIES, GALLERY, [0, 1, 2]) == same == facade.score(QUERIES, GALLERY, np.eye(3, dtype=bool))
    assert facade.score(QUERIES.tolist(), GALLERY.tolist(), np.eye(3)) == same
    several = facade.score(QUERIES, GALLERY[:2], [[1, 1], [0, 1], [0, 0]])
    assert several["n_queries"] == 2 and several["R@1"] == 100 and several["mAP"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((QUERIES, GALLERY[:2]), "3 queries and 2 items: say which items are relevant"),
        ((QUERIES, GALLERY, [0, 1, 3]), "not among the 3"),
        ((QUERIES, GALLERY, np.eye(2)), r"relevant has the shape \(2, 2\)"),
        ((QUERIES[0], GALLERY), r"queries need the shape \(n, dim\)"),
        ((QUERIES, np.full((3, 2), np.nan)), "gallery need the shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        facade.score(*arguments)


def test_the_example_of_score_is_right():
    import doctest

    import hearonce.scoring

    assert doctest.testmod(hearonce.scoring).failed == 0
