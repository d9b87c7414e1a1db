"""An experiment's YAML, by itself and beside `params.yaml`."""

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.experiments import load_experiment

EXPERIMENT = "corpus: demo\nencoders: [yamnet-minilm]\n"
PARAMS = """
corpora: {demo: {media: m, annotations: a}}
embeddings: {}
experiments: {mine: {corpus: demo, encoder: yamnet-minilm}}
fusions: {both: {corpus: demo, encoder: yamnet-minilm, second: efficientnet-minilm}}
"""


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


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
    with pytest.raises(UserError, match="2 weights for 1 encoder"):
        load_experiment("mine")
