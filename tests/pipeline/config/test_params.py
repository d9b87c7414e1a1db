"""`params.yaml`: where it is, what it names."""

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.corpus import load_corpus
from pipeline.config.experiments import read_experiments
from pipeline.config.params import config_of, corpus_place, extend_params, load_params, seed_of, training_of


def test_the_shipped_configuration_is_valid(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    params = load_params()
    assert params.corpora and params.embeddings
    for name in params.corpora:
        load_corpus(name)
    for path in Path("configs/experiments").glob("*/*.yaml"):
        assert read_experiments(path)


def test_outside_a_project_params_are_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run hearonce in the top folder"):
        load_params()


def test_an_unknown_corpus_place_is_named(project):
    Path("params.yaml").write_text("corpora: {demo: {media: m, annotations: a}}\nembeddings: {}\nsubsets: {}\n")
    with pytest.raises(UserError, match=r"No corpus 'demmo' in params.yaml: did you mean 'demo'\?"):
        corpus_place("demmo")


def test_a_section_whose_last_entry_was_deleted_says_what_to_write(project):
    Path("params.yaml").write_text("corpora: {}\nembeddings: {}\nsubsets: {}\nlabels:\ntrainings:\n  x:\n")
    with pytest.raises(UserError) as caught:
        load_params()
    assert str(caught.value) == (
        "params.yaml: labels is empty: write `labels: {}`, or what belongs below it. trainings.x is empty: write "
        "`x: {}`, or what belongs below it."
    )


@pytest.mark.parametrize(
    "text",
    [
        "corpora: {}\nembeddings: {}\nexperiments: {}\n",
        "corpora: {}\nembeddings: {a-b: {corpus: a, encoder: b}}\nsubsets: {}\n",
        "corpora: {}\nembeddings: {}\nsubsets: {}\nlevels: {}\n",
    ],
)
def test_params_of_the_last_version_say_how_to_migrate(project, text):
    Path("params.yaml").write_text(text)
    for reading in (load_params, lambda: extend_params({})):
        with pytest.raises(UserError, match=r"of an earlier version: run `hearonce migrate`"):
            reading()
    assert Path("params.yaml").read_text() == text


def test_names_of_encoders():
    assert (config_of("avlnet@mine"), training_of("avlnet@mine"), seed_of("avlnet@mine")) == ("avlnet", "mine", None)
    assert (config_of("clap@seed2"), training_of("clap@seed2"), seed_of("clap@seed2")) == ("clap", None, 2)
    assert training_of("avlnet@seedling") == "seedling" and seed_of("clap") is None
