"""An experiment's YAML by itself, and which experiments are scored."""

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.experiments import experiments_of, load_experiment, runnable_experiments

EXPERIMENT = "encoders: [yamnet-minilm]\n"


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


def test_experiments_are_scored_where_all_their_encoders_have_embedded_the_corpus(project):
    names = [experiment.name for experiment in experiments_of("demo")]
    assert names == ["demo-audio", "demo-visual", "demo-both"] and not runnable_experiments("demo")
    Path("data/embeddings/demo/yamnet-minilm/clips.zarr").mkdir(parents=True)
    assert [experiment.name for experiment in runnable_experiments("demo")] == ["demo-audio"]
    Path("data/embeddings/demo/efficientnet-minilm/captions.zarr").mkdir(parents=True)
    assert [experiment.name for experiment in runnable_experiments("demo")] == names


def test_encoders_of_features_are_named_by_their_folder(project):
    write("configs/experiments/demo/fusion.yaml", "encoders: [features/resnet152]\n")
    Path("data/embeddings/demo/features/resnet152/clips.zarr").mkdir(parents=True)
    assert [experiment.name for experiment in runnable_experiments("demo")] == ["fusion"]


def test_an_edited_file_is_read_anew(project):
    write("configs/experiments/demo/mine.yaml", EXPERIMENT)
    assert load_experiment("mine").encoders == ["yamnet-minilm"]
    write("configs/experiments/demo/mine.yaml", "encoders: [efficientnet-minilm]\n")
    assert load_experiment("mine").encoders == ["efficientnet-minilm"]
    with pytest.raises(UserError, match="No experiment 'mien' in configs/experiments: did you mean 'mine'"):
        load_experiment("mien")


def test_weights_must_match_encoders(project):
    write("configs/experiments/demo/mine.yaml", EXPERIMENT + "weights: [1, 2]\n")
    with pytest.raises(UserError, match="2 weights for 1 encoder"):
        load_experiment("mine")


def test_only_a_subset_has_another_query_count(project):
    write("configs/experiments/demo/mine.yaml", EXPERIMENT + "query_count: 5\nsubset_query_counts: {few: 3}\n")
    mine = load_experiment("mine")
    assert [mine.on_subset(one).query_count for one in ("all", "few", "other")] == [5, 3, None]
