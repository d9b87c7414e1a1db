"""What is said of a configuration file that is wrong."""

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.corpus import load_corpus
from pipeline.config.experiments import load_experiment
from pipeline.config.params import load_params

EXPERIMENT = "corpus: demo\nencoders: [yamnet-minilm]\n"


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


def test_a_typo_in_a_key_says_what_was_meant(project):
    write("configs/experiments/demo/mine.yaml", EXPERIMENT + "caption: x\n")
    with pytest.raises(UserError, match=r"mine\.yaml: unknown key 'caption', did you mean 'captions'\?"):
        load_experiment("mine")


def test_a_typo_in_a_nested_key_says_what_was_meant(project):
    write("configs/corpora/mine.yaml", "audio: {chanels: mono}\n")
    with pytest.raises(UserError, match=r"unknown key 'audio\.chanels', did you mean 'channels'\?"):
        load_corpus("mine")
    write("params.yaml", "corpora: {demo: {media: m, annotation: a}}\nembeddings: {}\nsubsets: {}\n")
    with pytest.raises(UserError, match=r"'corpora\.demo\.annotation', did you mean 'annotations'\?"):
        load_params()


def test_a_typo_in_a_name_says_what_was_meant(project):
    with pytest.raises(UserError, match=r"No corpus 'dmo' .*did you mean 'demo'\?"):
        load_corpus("dmo")
    with pytest.raises(UserError, match=r"No experiment 'demo-adio' .*did you mean 'demo-audio'\?"):
        load_experiment("demo-adio")


def test_a_wrong_value_is_shown(project):
    write("configs/corpora/mine.yaml", "audio: {bits: 12}\nwindow_s: -1\n")
    with pytest.raises(UserError, match=r"window_s: .*found -1.*audio\.bits: .*found 12"):
        load_corpus("mine")


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "no valid YAML"), ("- a\n", "`key: value`"), ("", "`key: value`")]
)
def test_what_is_no_mapping_is_said(project, text, message):
    write("configs/corpora/mine.yaml", text)
    with pytest.raises(UserError, match=message):
        load_corpus("mine")
