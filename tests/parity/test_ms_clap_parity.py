"""Microsoft's CLAP of 2023 against `msclap` 1.3.4 with the same filled weights (make_ms_clap_golden.py)."""

from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from filled import gpt2_files, ms_clap
from parity.fill import sine_mix

from cache.errors import UserError
from pipeline.checkpoints.weights import CheckpointError
from pipeline.networks import ms_clap as network
from stages.embed.encoders.ms_clap import SAMPLES, ClipTower, seven_seconds

GOLDEN = np.load(Path(__file__).parent / "golden" / "ms_clap_2023.npz")
CPU = torch.device("cpu")
CLIPS = {"0.4s": 17_640, "3.3s": 145_530, "7s": 308_700, "12s": 529_200}
CROP_START, KEY = 77_777, bytes(16)


@pytest.fixture(scope="module")
def encoder(filled_folder):
    return ms_clap.encoder(filled_folder)


@pytest.fixture(scope="module")
def tower(encoder):
    return encoder.load_clip_tower(CPU)


@pytest.fixture(scope="module")
def caption_tower(encoder):
    return encoder.load_caption_tower(CPU)


def agree(ours, golden):
    golden = golden / np.linalg.norm(golden, axis=-1, keepdims=True)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, golden, rtol=0, atol=2e-6)


def test_every_key_and_shape_of_the_package_is_expected():
    assert {key: list(one.shape) for key, one in network.layout().items()} == {
        key: shape for key, shape, _ in ms_clap.KEYS
    }


def test_clips_as_the_package_embeds_them(tower):
    clips = [seven_seconds(sine_mix(n, 44_100), "random", lambda starts: starts[CROP_START]) for n in CLIPS.values()]
    agree(tower.encode(clips), np.stack([GOLDEN[f"audio_{name}"] for name in CLIPS]))


def test_audio_of_another_rate_differs_by_the_resampler_alone(tower):
    ours = tower.encode([tower.prepare(soxr.resample(sine_mix(240_000, 48_000), 48_000, 44_100, quality="HQ"), KEY)])[0]
    theirs = GOLDEN["audio_5s_48kHz"] / np.linalg.norm(GOLDEN["audio_5s_48kHz"])
    assert np.abs(ours - theirs).max() < 3e-4 and ours @ theirs > 0.99999  # soxr and torchaudio's windowed sinc


def test_captions_as_the_package_embeds_them(caption_tower):
    captions = [str(caption) for caption in GOLDEN["captions"]]
    tokens = [caption_tower.prepare(caption, KEY) for caption in captions]
    whole = [ids[mask > 0] for ids, mask in zip(GOLDEN["ids"], GOLDEN["mask"], strict=True)]
    for ours, theirs in zip(tokens, [*whole, GOLDEN["long_ids"]], strict=True):
        np.testing.assert_array_equal(ours, theirs[: np.count_nonzero(theirs)])  # `!` is 0, and so is padding
    assert len(tokens[2]) == len(whole[2]) - 4
    agree(caption_tower.encode(tokens), np.concatenate([GOLDEN["text"], GOLDEN["text_long"][None]]))


def test_a_longer_caption_is_cut_before_its_end_mark(encoder, caption_tower, filled_folder):
    assert len(caption_tower.prepare("rain " * 900, KEY)) == 1024
    tokens = (
        ms_clap.encoder(filled_folder, max_tokens=77).load_caption_tower(CPU).prepare(str(GOLDEN["captions"][-1]), KEY)
    )
    np.testing.assert_array_equal(tokens, [*GOLDEN["long_ids"][:76], 50_256])


def test_which_part_of_a_longer_clip(tower):
    clip = np.arange(SAMPLES + 101, dtype=np.float32)
    starts = {crop: seven_seconds(clip, crop, lambda starts: starts[-1])[0] for crop in ("random", "start", "middle")}
    assert starts == {"random": 100, "start": 0, "middle": 50}
    middle = ClipTower(tower._network, CPU, "middle", 0)
    np.testing.assert_array_equal(middle.prepare(clip, KEY), middle.prepare(clip, bytes(range(16))))
    with pytest.raises(ValueError, match="at least one sample"):
        seven_seconds(clip[:0], "random", len)


def test_what_is_no_such_checkpoint_or_vocabulary_is_said_in_a_sentence(encoder, tmp_path, monkeypatch):
    weights = {key: value for key, value in network.read_checkpoint(encoder.config.checkpoint).items()}
    real, imaginary = network.KERNELS
    gpt2 = "caption_encoder.base.wte.weight"
    changes = {
        r"CLAP of 2023 \(HTSAT, GPT-2\)\n1 missing": {"logit_scale": None},
        r"wte.weight: \(9, 768\) in the file, \(50257, 768\)": {gpt2: torch.zeros(9, 768)},
        "not those of a Hann window": {real: weights[imaginary], imaginary: weights[real]},
    }
    for message, change in changes.items():
        changed = {key: value for key, value in {**weights, **change}.items() if value is not None}
        monkeypatch.setattr("pipeline.networks.ms_clap.read_state_dict", lambda *_, **__: changed)  # noqa: B023
        with pytest.raises(CheckpointError, match=message):
            network.read_checkpoint(encoder.config.checkpoint)
    lacking = type(encoder)(encoder.config.model_copy(update={"text_model": str(tmp_path)}))
    with pytest.raises(UserError, match=r"lacks vocab\.json and merges\.txt of gpt2: run"):
        lacking.caption_identity()
    gpt2_files.write(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0, "<|endoftext|>": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(CheckpointError, match="is not the vocabulary of gpt2, which has 50257 tokens"):
        lacking.load_caption_tower(CPU)
