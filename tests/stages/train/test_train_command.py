import subprocess
from pathlib import Path

import pytest
import torch
from avlnet_samples import VECTORS, run, states, write_training

from cache.errors import UserError
from pipeline import layout
from stages.avlnet.weights import load_avlnet
from stages.train.command import identity
from stages.train.config import load_training
from stages.train.features import CachedFeatures


@pytest.mark.parametrize("variant", ["bi", "tri", "fused"])
def test_a_training_lowers_its_loss_and_leaves_weights_and_metrics(corpus, variant):
    text = {} if variant == "bi" else {"words": VECTORS}
    write_training(variant=variant, epochs=12, lr=1e-2, lr_decay=1.0, evaluate_on="few", **text)
    curve, metrics = run()
    assert len(curve) == 12 * 2 and sum(curve[-2:]) < 0.8 * sum(curve[:2])
    assert load_avlnet(layout.training("small") / "model.pth").shape.variant == variant
    assert len(metrics["evaluation"]) == 2 and metrics["step"] == 24
    assert not states()


def test_the_same_training_gives_the_same_weights(corpus):
    write_training("one"), write_training("two"), write_training("other", seed=2)
    curves = {name: run(name)[0] for name in ("one", "two", "other")}
    assert curves["one"] == curves["two"] != curves["other"]
    first, second = (torch.load(layout.training(name) / "model.pth", weights_only=True) for name in ("one", "two"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_training_can_start_where_one_ended(corpus):
    """The cascade: English weights first, then Japanese."""
    write_training("first", epochs=6, lr_decay=1.0)
    before, _ = run("first")
    write_training("second", start=layout.training("first") / "model.pth", epochs=1)
    after, _ = run("second")
    assert after[0] < before[0]
    write_training("third", start=layout.training("first") / "model.pth", dim=16)
    with pytest.raises(UserError, match=r"model\.pth is AVLnet of dimension 8 .* but wanted is AVLnet of dimension 16"):
        run("third")


def test_random_windows_and_parts(corpus):
    write_training(windows="{frames: 64, per_clip: 3}", accumulate=2, lr_decay=1.0)
    curve, _ = run()
    assert len(curve) == 4 and all(loss > 0 for loss in curve)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 64}, "Of the clips of 'mine' (subset all) 23 can be trained on, fewer than batch_size 64"),
        ({"words": "word2vec"}, "variant bi takes no words"),
        ({"learning_rate": 1}, "unknown key 'learning_rate'"),
        ({"train_on": "fw"}, "did you mean 'few'"),
        ({"sound": "avlnet"}, "data/embeddings/mine/avlnet/clips.zarr is missing"),
    ],
)
def test_mistakes_are_told_in_one_sentence(corpus, options, sentence):
    write_training(**options)
    with pytest.raises(UserError) as error:
        run()
    assert sentence in str(error.value)


def test_params_must_feed_what_the_training_reads(corpus):
    write_training()
    features = "{corpus: mine, sound: other, flat: resnet152, moving: resnext101-3d}"
    params = "corpora: {}\nembeddings: {}\nexperiments: {}\n"
    Path("params.yaml").write_text(f"{params}trainings: {{small: {features}}}\n")
    with pytest.raises(UserError, match="disagree on training 'small'"):
        run()


def test_a_damaged_state_is_told(corpus):
    write_training()
    config = load_training("small")
    folder = Path(".hearonce/trainings") / identity(config, CachedFeatures(config, None))
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match=r"is damaged .*delete it"):
        run()


def test_a_repository_without_a_commit_is_told(corpus):
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["dvc", "init", "-q"], check=True)
    write_training()
    with pytest.raises(UserError, match="make a first commit"):
        run()
