from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.corpus import load_corpus
from pipeline.config.experiment import load_experiment
from pipeline.config.params import corpus_place, load_params

EXPERIMENT = "corpus: demo\nencoders: [yamnet-minilm]\n"
PARAMS = """
corpora: {demo: {media: m, annotations: a}}
embeddings: {}
experiments: {mine: {corpus: demo, encoder: yamnet-minilm}}
fusions: {both: {corpus: demo, encoder: yamnet-minilm, second: efficientnet-minilm}}
"""


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


def test_the_shipped_configuration_is_valid(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    params = load_params()
    assert params.corpora and params.embeddings
    for name in params.corpora:
        load_corpus(name)
    for path in Path("configs/experiments").glob("*/*.yaml"):
        load_experiment(path.stem)


def test_a_typo_in_a_key_says_what_was_meant(project):
    write("configs/experiments/demo/mine.yaml", EXPERIMENT + "caption: x\n")
    with pytest.raises(UserError, match=r"mine\.yaml: unknown key 'caption', did you mean 'captions'\?"):
        load_experiment("mine")


def test_a_typo_in_a_nested_key_says_what_was_meant(project):
    write("configs/corpora/mine.yaml", "audio: {chanels: mono}\n")
    with pytest.raises(UserError, match=r"unknown key 'audio\.chanels', did you mean 'channels'\?"):
        load_corpus("mine")
    write("params.yaml", "corpora: {demo: {media: m, annotation: a}}\nembeddings: {}\nexperiments: {}\n")
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


def test_params_and_experiment_must_agree(project):
    write("params.yaml", PARAMS)
    write("configs/experiments/demo/mine.yaml", EXPERIMENT)
    assert load_experiment("mine").encoders == ["yamnet-minilm"]
    write("configs/experiments/demo/mine.yaml", "corpus: demo\nencoders: [efficientnet-minilm]\n")
    with pytest.raises(UserError, match=r"on demo with yamnet-minilm, but .* says demo with efficientnet-minilm"):
        load_experiment("mine")
    write("configs/experiments/demo/both.yaml", EXPERIMENT)
    with pytest.raises(UserError, match=r"yamnet-minilm \+ efficientnet-minilm, but"):
        load_experiment("both")


def test_weights_must_match_encoders(project):
    write("configs/experiments/demo/mine.yaml", EXPERIMENT + "weights: [1, 2]\n")
    with pytest.raises(UserError, match="2 weights for 1 encoders"):
        load_experiment("mine")


def test_outside_a_project_params_are_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run hearonce in the top folder"):
        load_params()


def test_an_unknown_corpus_place_is_named(project):
    write("params.yaml", PARAMS)
    with pytest.raises(UserError, match=r"No corpus 'demmo' in params.yaml: did you mean 'demo'\?"):
        corpus_place("demmo")
