"""Which epochs' weights stay, and that each is a checkpoint like the others."""

import numpy as np
import pytest
import torch
from avlnet_samples import evaluations, run, write_training

from cache.errors import UserError
from pipeline.config import layout
from pipeline.networks.avlnet import load_avlnet
from stages.train.batches import BatchReader
from stages.train.config import load_training
from stages.train.features import CachedFeatures
from stages.train.saved import is_best
from stages.train.step import evaluate


def kept(name="small"):
    return sorted(one.name for one in (layout.training(name) / "epochs").iterdir())


def same(first, second):
    first, second = (torch.load(one, weights_only=True) for one in (first, second))
    return all(torch.equal(first[key], second[key]) for key in first)


def test_all_epochs(corpus):
    write_training(keep="all", epochs=3), write_training("two", epochs=2)
    run(), run("two")
    folder = layout.training("small")
    assert kept() == ["e1.pth", "e2.pth", "e3.pth"] and kept("two") == []
    assert same(folder / "epochs/e3.pth", folder / "model.pth")
    assert same(folder / "epochs/e2.pth", layout.training("two") / "model.pth")
    assert load_avlnet(folder / "epochs/e1.pth").shape.dim == 8


def test_a_training_shows_its_own_epochs_alone(corpus):
    write_training(keep="all", epochs=3)
    run()
    write_training(keep="all", epochs=1)
    run()
    assert kept() == ["e1.pth"]


def test_the_best_epoch_is_the_one_that_was_evaluated_best(corpus, capsys):
    write_training(keep="best", evaluate_on="few", epochs=6, lr=3e-2, lr_decay=1.0, mode="train")
    run()
    assert kept() == ["best.pth"]
    config = load_training("small")
    net = load_avlnet(layout.training("small") / "epochs/best.pth")
    features = CachedFeatures(config, "few")
    found = evaluate(net, config, features, BatchReader(1), torch.device("cpu"))
    best = sum(value for one in found.values() for name, value in one.items() if name != "MedR")
    values = np.array(evaluations("small"))  # of each direction MedR, R@1, R@10, R@5
    sums = values.sum(axis=1) - values[:, 0] - values[:, 4]
    assert best == pytest.approx(sums[1:].max())
    assert f"best.pth is of epoch {1 + sums[1:].argmax()};" in capsys.readouterr().out


def test_the_first_of_equals_is_best_and_weights_before_training_do_not_count():
    low, high = ({"a": {"R@1": one, "R@5": 1.0, "MedR": 9.0}} for one in (1.0, 2.0))
    assert [is_best([high, low, high, high][:n]) for n in range(1, 5)] == [False, True, True, False]
    assert is_best([high, high, low], since=2)


def test_best_needs_an_evaluation(corpus):
    write_training(keep="best")
    with pytest.raises(UserError, match="keep: best needs evaluate_on"):
        load_training("small")
