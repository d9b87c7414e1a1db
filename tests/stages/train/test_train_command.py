import subprocess
from pathlib import Path

import pytest
import torch
from avlnet_samples import VECTORS, run, states, write_training

from cache.errors import UserError
from pipeline.config import layout
from pipeline.networks.avlnet import load_avlnet
from stages.embed.encoders.avlnet import load_avlnet_config
from stages.train.command import identity
from stages.train.config import TrainingConfig, load_training
from stages.train.features import CachedFeatures


@pytest.mark.parametrize(("variant", "mode"), [("bi", "eval"), ("tri", "train"), ("fused", "train")])
def test_a_training_lowers_its_loss_and_leaves_weights_and_metrics(corpus, variant, mode):
    text = {} if variant == "bi" else {"text": VECTORS}
    write_training(variant=variant, mode=mode, epochs=12, lr=1e-2, lr_decay=1.0, evaluate_on="few", **text)
    curve, metrics = run()
    assert len(curve) == 12 * 2 and sum(curve[-2:]) < 0.8 * sum(curve[:2])
    net = load_avlnet(layout.training("small") / "model.pth")
    assert net.shape.variant == variant
    assert net.DAVEnet.bn1.num_batches_tracked == (0 if mode == "eval" else 24)
    assert torch.equal(net.DAVEnet.bn1.running_mean, torch.zeros(8)) == (mode == "eval")
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
        ({"text": "features/word2vec"}, "variant bi takes no text"),
        ({"learning_rate": 1}, "unknown key 'learning_rate'"),
        ({"train_on": "fw"}, "did you mean 'few'"),
        ({"audio": "avlnet"}, "data/embeddings/mine/avlnet/clips.zarr is missing"),
    ],
)
def test_mistakes_are_told_in_one_sentence(corpus, options, sentence):
    write_training(**options)
    with pytest.raises(UserError) as error:
        run()
    assert sentence in str(error.value)


def test_params_name_the_corpus_of_a_training(corpus):
    write_training()
    params = "corpora: {}\nembeddings: {}\nsubsets: {}\n"
    Path("params.yaml").write_text(f"{params}trainings: {{small: {{corpus: other, reads: [a, b]}}}}\n")
    with pytest.raises(UserError, match=r"small is of corpus 'other', but .* of 'mine'"):
        run()


def test_a_trained_network_is_described_as_an_encoder(corpus):
    write_training()
    run()
    folder = layout.training("small")
    config = load_avlnet_config("mine", "avlnet@small")
    assert config.checkpoint == folder / "model.pth" and config.max_frames == load_training("small").max_frames
    before = (folder / "encoder.yaml").read_text()
    run()
    assert (folder / "encoder.yaml").read_text() == before  # DVC sees no change where the weights are the same
    write_training(lr=0.01)
    run()
    assert (folder / "encoder.yaml").read_text() != before


def test_the_mode_is_as_published_unless_it_is_given(corpus):
    write_training("clips", evaluate_on="few"), write_training("alone")
    write_training("windows", windows="{frames: 64}", evaluate_on="few"), write_training("given", mode="train")
    modes = [load_training(name).mode for name in ("clips", "alone", "windows", "given")]
    assert modes == ["eval", "eval", "train", "train"]
    write_training("unknown", mode="evaluation")
    with pytest.raises(UserError, match="mode"):
        load_training("unknown")


def test_weights_to_start_from_that_lack_are_told_before_anything_is_read(corpus):
    write_training(start="data/trainings/first/model.pth", audio="not-there")
    with pytest.raises(UserError, match=r"starts from data/trainings/first/model.pth, .*run `hearonce train first`"):
        run()
    write_training(start="checkpoints/mine.pth", audio="not-there")
    with pytest.raises(UserError, match=r"checkpoints/mine.pth: correct the path in configs/trainings/mine/small.yaml"):
        run()
    write_training(start="checkpoints/AVLnet_release_models/AVLnet_release.pth")
    with pytest.raises(UserError, match=r"run `hearonce checkpoints fetch AVLnet_release_models --unpack`"):
        run()
    torch.save({"fc.weight": torch.zeros(2, 2)}, "other.pth")
    write_training(start="other.pth")
    with pytest.raises(UserError, match=r"other.pth is no checkpoint of AVLnet .*name another file"):
        run()


def test_the_file_of_mixed_precision_is_one_to_start_from(corpus):
    """`amp_checkpoint.pt`: {net, optimizer, amp}, as the original saves it beside the weights."""
    write_training("first", epochs=1)
    run("first")
    weights = torch.load(layout.training("first") / "model.pth", weights_only=True)
    amp = {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 3}}
    torch.save(
        {"net": weights, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}, "amp": amp}, "amp_checkpoint.pt"
    )
    assert load_avlnet(Path("amp_checkpoint.pt")).shape.dim == 8
    write_training("plain", start=layout.training("first") / "model.pth", epochs=1)
    write_training("wrapped", start="amp_checkpoint.pt", epochs=1)
    assert run("plain")[0] == run("wrapped")[0]


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


class _Videos:
    def identity(self):
        return {"videos": ["a", "b"]}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"features_2d": "r", "text": "word2vec", "variant": "tri", "audio_widths": (1, 2, 3, 4, 5)},
            "38d0e14a722a3d476e5f6de257776f77",
        ),
        (
            {"files": {"paths": "p.csv", "features": "f", "audio": "s"}, "windows": {"frames": 10}},
            "30ac99ae16f77128e5484da23159020a",
        ),
    ],
)
def test_states_saved_before_keys_were_renamed_are_found(options, expected):
    """The folders' names as version 2 of the trainings wrote them, with keys `sound`, `flat`, `moving`, `words`."""
    assert identity(TrainingConfig(corpus="mine", **options), _Videos()) == expected


@pytest.mark.parametrize(
    ("options", "old", "new"),
    [
        ({"sound": "avlnet-spectrogram"}, "sound", "audio"),
        ({"flat": "resnet152"}, "flat", "features_2d"),
        ({"moving": "resnext101-3d"}, "moving", "features_3d"),
        ({"words": "word2vec"}, "words", "text"),
        ({"sound_widths": [1, 2, 3, 4, 5]}, "sound_widths", "audio_widths"),
        ({"files": {"paths": "p", "features": "f", "sounds": "s"}}, "sounds", "audio"),
    ],
)
def test_a_renamed_key_says_its_new_name(project, options, old, new):
    write_training(**options)
    with pytest.raises(UserError, match=f"`{old}` is renamed to `{new}`: run `hearonce migrate`"):
        load_training("small")
