"""`params.yaml`: where it is, what it names."""

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.corpus import load_corpus
from pipeline.config.experiments import load_experiment
from pipeline.config.params import corpus_place, load_params


def test_the_shipped_configuration_is_valid(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    params = load_params()
    assert params.corpora and params.embeddings
    for name in params.corpora:
        load_corpus(name)
    for path in Path("configs/experiments").glob("*/*.yaml"):
        load_experiment(path.stem)


def test_outside_a_project_params_are_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run hearonce in the top folder"):
        load_params()


def test_an_unknown_corpus_place_is_named(project):
    Path("params.yaml").write_text("corpora: {demo: {media: m, annotations: a}}\nembeddings: {}\nsubsets: {}\n")
    with pytest.raises(UserError, match=r"No corpus 'demmo' in params.yaml: did you mean 'demo'\?"):
        corpus_place("demmo")


def test_a_section_whose_last_entry_was_deleted_says_what_to_write(project):
    Path("params.yaml").write_text("corpora: {}\nembeddings: {}\nsubsets: {}\nlevels:\navlnets:\n  x:\n")
    with pytest.raises(UserError) as caught:
        load_params()
    assert str(caught.value) == (
        "params.yaml: levels is empty: write `levels: {}`, or what belongs below it. avlnets.x is empty: write "
        "`x: {}`, or what belongs below it."
    )
