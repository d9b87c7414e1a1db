"""AVLnet against the authors' code: networks, loss, training steps and items (tests/parity/golden)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from filled.word2vec import write_vectors
from parity.fill import fill_state_dict

from pipeline.formats.word_vectors import open_vectors, words_of
from pipeline.networks import avlnet_inputs as items
from pipeline.networks.avlnet import AvlNet
from pipeline.networks.avlnet_shape import Shape
from stages.train.step import avlnet_loss, masked_margin_softmax

GOLDEN = Path(__file__).parent / "golden"
FACTS = json.loads((GOLDEN / "avlnet.json").read_text())
SMALL = {"small_bi": "bi", "small_tri": "tri", "small_tri_additive": "tri", "small_fuse": "fused"}
VARIANTS = {**SMALL, "full_bi_4096": "bi", "full_tri_6144": "tri", "full_fuse_4096": "fused"}
SIDES = ("a", "v", "t")


def recorded_keys(name: str) -> dict:
    return json.loads((GOLDEN / f"keys_avlnet_{name}.json").read_text())


def shape(name: str) -> Shape:
    arguments = recorded_keys(name)["net_args"]
    return Shape(VARIANTS[name], *(arguments[one] for one in ("embd_dim", "video_dim", "we_dim")))


def batch(of: Shape, seed: int) -> list[torch.Tensor]:
    """The recorded recipe: the sound is drawn before the text."""
    random = np.random.default_rng(seed)
    picture = random.standard_normal((3, of.video_dim))
    sound = random.standard_normal((3, 40, 160)) * 10 - 30
    words = random.standard_normal((3, 20, of.word_dim))
    parts = [torch.from_numpy(one).float() for one in (picture, sound, words)]
    parts.insert(2, torch.tensor([160, 77, 5]))
    return parts if of.variant != "bi" else parts[:3]


@pytest.mark.parametrize("name", VARIANTS)
def test_keys_are_those_of_the_published_files(name):
    with torch.device("meta"):
        net = AvlNet(shape(name))
    found = [[key, list(one.shape), str(one.dtype).removeprefix("torch.")] for key, one in net.state_dict().items()]
    assert sorted(found) == sorted(recorded_keys(name)["keys"])


@pytest.mark.parametrize("name", SMALL)
def test_outputs_losses_and_three_steps(name):
    with np.load(GOLDEN / f"avlnet_model_{name}.npz") as stored:
        golden = dict(stored)
    of = shape(name)
    net = AvlNet(of)
    fill_state_dict(net)
    check(net.eval()(*batch(of, 0)), golden, "eval")
    check(net.train()(*batch(of, 0)), golden, "train")
    fill_state_dict(net)
    recorded = FACTS["train"][name]
    optimizer = torch.optim.Adam(net.parameters(), recorded["lr"])
    losses = []
    for step in range(recorded["steps"]):
        optimizer.zero_grad()
        loss = avlnet_loss(net(*batch(of, step)), "text-to-sum" if recorded["additive"] else "pairs")
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(recorded["losses"][0], rel=1e-5)
    # After that the authors' own code differs by 1e-4 between one thread and several: Adam enlarges gradients near 0.
    assert losses == pytest.approx(recorded["losses"], rel=1e-3)
    check(net.eval()(*batch(of, 0)), golden, "post_eval", tolerance=2e-2)
    np.testing.assert_allclose(net.DAVEnet.bn1.running_mean, golden["post_bn1_running_mean"], rtol=2e-3, atol=1e-4)


def check(sides, golden, kind, tolerance=1e-5):
    for side, found in zip(SIDES, sides, strict=False):
        wanted = golden[f"{kind}_{side}"]
        np.testing.assert_allclose(found.detach(), wanted, rtol=1e-5, atol=tolerance * max(1, np.abs(wanted).max()))


def test_loss():
    similarities = torch.tensor(FACTS["MMS_loss"]["S"])
    assert masked_margin_softmax(similarities).item() == pytest.approx(
        FACTS["MMS_loss"]["default_margin_0.001"], rel=1e-6
    )
    assert masked_margin_softmax(similarities, 0.5).item() == pytest.approx(FACTS["MMS_loss"]["margin_0.5"], rel=1e-6)


@pytest.fixture(scope="module")
def clips():
    """Features of four clips in the recorded order of draws: 2D, 3D, spectrogram (frames, 40)."""
    random = np.random.default_rng(3)
    found = []
    for length in (300, 5120, 5400, 64):
        flat = random.standard_normal(2048).astype(np.float32)
        moving = random.standard_normal(2048).astype(np.float32) * 3
        found.append((flat[None], moving[None], random.standard_normal((40, length)).astype(np.float32).T))
    return found


def test_items(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with np.load(GOLDEN / "avlnet_items.npz") as stored:
        golden = dict(stored)
    vectors = open_vectors(write_vectors(Path("v.bin"), words=FACTS["we_vocab"], rows=golden["we_matrix"]))
    for i, (flat, moving, spectrogram) in enumerate(clips):
        np.testing.assert_allclose(items.pooled_features(flat, moving), golden[f"yc{i}_video"], atol=1e-7)
        words = vectors.of(words_of(FACTS["youcook_items"][i]["caption"]))
        np.testing.assert_array_equal(items.padded_words(words, 20), golden[f"yc{i}_text"])
        for length, recorded in ((5120, FACTS["youcook_items"][i]), (3072, FACTS["msrvtt_items"][i])):
            sound = items.padded_spectrogram(spectrogram, length)
            assert (list(sound.frames.T.shape), sound.n_frames) == (recorded["audio_shape"], recorded["nframes"])
            assert float(sound.frames.sum(dtype=np.float64)) == pytest.approx(recorded["audio_sum"], abs=1e-2)
