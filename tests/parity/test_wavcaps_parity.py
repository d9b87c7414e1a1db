"""WavCaps HTSAT-BERT against the original code (audio_egovlp), with the same filled weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled import bert_words, wavcaps
from parity.fill import sine_mix

from pipeline.checkpoints.weights import CheckpointError
from pipeline.networks.packed import place
from pipeline.networks.wavcaps import AudioNetwork, layout, read_checkpoint
from stages.embed.encoders.wavcaps import ClipTower

GOLDEN = np.load(Path(__file__).parent / "golden" / "ase.npz")
CPU = torch.device("cpu")
SOUNDS = {
    "10s": sine_mix(320_000, 32_000),
    "3s_pad10": sine_mix(96_000, 32_000),
    "3s": sine_mix(96_000, 32_000),
    "1.37s": sine_mix(int(1.37 * 32_000), 32_000),
}


@pytest.fixture(scope="module")
def encoder(filled_folder):
    return wavcaps.encoder(filled_folder)


@pytest.fixture(scope="module")
def weights(encoder):
    return read_checkpoint(encoder.config.checkpoint)


@pytest.fixture(scope="module")
def tower(weights):
    return ClipTower(place(AudioNetwork(weights), CPU), CPU, 320_000, seed=0)


@pytest.fixture(scope="module")
def caption_tower(encoder):
    return encoder.load_caption_tower(CPU)


def heard(tower, name, monkeypatch):
    """The tower, made to hear a clip of that name as long as it is, unless it is to be padded."""
    if "pad" not in name:
        monkeypatch.setattr(tower, "_max_samples", len(SOUNDS[name]))
    return tower


def agree(ours, golden):
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, golden, rtol=0, atol=2e-6)
    assert (ours * golden).sum(-1).min() >= 0.999999


def test_every_official_key_and_shape_is_expected():
    assert {key: list(one.shape) for key, one in layout().items()} == {key: shape for key, shape, _ in wavcaps.KEYS}


@pytest.mark.parametrize("name", SOUNDS)
def test_a_clip_as_the_reference_hears_and_embeds_it(tower, name, monkeypatch):
    tower = heard(tower, name, monkeypatch)
    waveforms = tower.waveforms([SOUNDS[name]])
    log_mel = tower._network.log_mel(waveforms)
    assert log_mel.shape[1] == len(waveforms[0]) // 320 + 1
    np.testing.assert_allclose(log_mel[0, :40], GOLDEN[f"logmel_{name}_first40"], rtol=0, atol=2e-4)
    np.testing.assert_allclose(
        tower._network.htsat(log_mel, torch.zeros(1, 1, dtype=torch.long)), GOLDEN[f"htsat_{name}"], rtol=0, atol=1e-5
    )
    agree(tower.encode([SOUNDS[name]]), GOLDEN[f"audio_embed_{name}"])


def test_silence_follows_a_shorter_clip(tower):
    heard = tower.waveforms([tower.prepare(SOUNDS["3s"], bytes(16)), SOUNDS["10s"]])
    assert heard.shape == (2, 320_000) and not heard[0, 96_000:].any()
    np.testing.assert_array_equal(heard[0, :96_000], SOUNDS["3s"])


def test_a_batch_of_the_reference(tower):
    agree(tower.encode([SOUNDS["10s"], sine_mix(320_000, 32_000, 1)]), GOLDEN["audio_embed_batch2_seed0_1"])


def test_a_row_does_not_depend_on_its_batch(tower, monkeypatch):
    batch = [SOUNDS["10s"], SOUNDS["1.37s"], np.zeros(1, np.float32)]
    alone = np.concatenate([tower.encode([one]) for one in batch])
    np.testing.assert_array_equal(tower.encode(batch[::-1]), alone[::-1])
    monkeypatch.setattr("pipeline.networks.wavcaps.torch.get_num_threads", lambda: 6)  # three at once
    np.testing.assert_allclose(tower.encode(batch), alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)


def test_captions_as_the_reference_embeds_them(caption_tower):
    tokens = [torch.from_numpy(ids[mask > 0]) for ids, mask in zip(GOLDEN["ids"], GOLDEN["mask"], strict=True)]
    agree(caption_tower.encode(tokens), GOLDEN["text_embed"])


def test_captions_become_the_tokens_of_bert(caption_tower):
    places = {word: place for place, word in enumerate(bert_words.words())}
    tokens = caption_tower.prepare("A DOG, barks…", bytes(16)).tolist()
    assert tokens == [101, places["a"], places["dog"], places[","], places["bark"], places["##s"], 100, 102]
    long = caption_tower.prepare("rain " * 100, bytes(16)).tolist()
    assert len(long) == 30 and long[1:-1] == [places["rain"]] * 28 and long[-1] == 102
    assert caption_tower.prepare("", bytes(16)).tolist() == [101, 102]


def test_constants_of_the_file_are_checked(encoder, weights, tmp_path, monkeypatch):
    real, imaginary = (key for key in weights if ".stft." in key)
    changes = {
        "HTSAT-BERT\n1 missing": {"audio_proj.2.bias": None},
        "2 unexpected:\n  text_proj.4.bias\n  x": {"text_proj.4.bias": torch.zeros(1), "x": torch.zeros(1)},
        "audio_proj.0.bias: [(]7,[)] in the file, [(]1024,[)]": {"audio_proj.0.bias": torch.zeros(7)},
        "not those of a Hann window": {real: weights[imaginary], imaginary: weights[real]},
        "not 0, 1, 2": {wavcaps.POSITION_IDS: torch.ones(1, 512)},
    }
    for message, change in changes.items():
        changed = {key: value for key, value in {**weights, **change}.items() if value is not None}
        monkeypatch.setattr("pipeline.networks.wavcaps.read_state_dict", lambda *_, **__: changed)  # noqa: B023
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(encoder.config.checkpoint)
