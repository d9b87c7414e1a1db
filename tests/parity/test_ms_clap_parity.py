"""Microsoft's CLAP of 2023 and 2022 against `msclap` 1.3.4 with the same filled weights (make_ms_clap_golden.py)."""

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
from stages.embed.encoders.ms_clap import SECONDS, cut

RELEASES = ("2023", "2022")
GOLDEN = {one: np.load(Path(__file__).parent / "golden" / f"ms_clap_{one}.npz") for one in RELEASES}
CPU = torch.device("cpu")
CLIPS = {"0.4s": 17_640, "3.3s": 145_530, "7s": 308_700, "12s": 529_200}
CROP_START, KEY = 77_777, bytes(16)


@pytest.fixture(scope="module", params=RELEASES)
def encoder(filled_folder, request):
    return ms_clap.encoder(filled_folder, request.param)


@pytest.fixture(scope="module")
def golden(encoder):
    return GOLDEN[encoder.config.release]


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


@pytest.mark.parametrize("release", RELEASES)
def test_every_key_and_shape_of_the_package_is_expected(release):
    expected = {key: shape for key, shape, _ in ms_clap.KEYS[release]}
    assert {key: list(one.shape) for key, one in network.layout(release).items()} == expected


def test_clips_as_the_package_embeds_them(encoder, tower, golden):
    length = 44_100 * SECONDS[encoder.config.release]
    sounds = [sine_mix(samples, 44_100) for samples in CLIPS.values()]
    clips = [cut(one, length, "random", lambda starts: starts[CROP_START]) for one in sounds]
    agree(tower.encode(clips), np.stack([golden[f"audio_{name}"] for name in CLIPS]))


def test_audio_of_another_rate_differs_by_the_resampler_alone(tower, golden):
    ours = tower.encode([tower.prepare(soxr.resample(sine_mix(240_000, 48_000), 48_000, 44_100, quality="HQ"), KEY)])[0]
    theirs = golden["audio_5s_48kHz"] / np.linalg.norm(golden["audio_5s_48kHz"])
    assert np.abs(ours - theirs).max() < 3e-4 and ours @ theirs > 0.99999  # soxr and torchaudio's windowed sinc


def test_captions_as_the_package_embeds_them(encoder, caption_tower, golden):
    tokens = [caption_tower.prepare(str(caption), KEY) for caption in golden["captions"]]
    whole = [*(ids[mask > 0] for ids, mask in zip(golden["ids"], golden["mask"], strict=True)), golden["long_ids"]]
    if encoder.config.release == "2023":  # `!` is 0, and so is padding
        whole = [ids[: np.count_nonzero(ids)] for ids in whole]
        assert len(tokens[2]) == 14 and golden["mask"][2].sum() == 18
    for ours, theirs in zip(tokens, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    agree(caption_tower.encode(tokens), np.concatenate([golden["text"], golden["text_long"][None]]))


def test_a_longer_caption_is_cut_before_its_end_mark(encoder, caption_tower, golden):
    tokens = caption_tower.prepare("rain " * 900, KEY)
    assert len(tokens) == {"2023": 1024, "2022": 512}[encoder.config.release]
    shorter = type(encoder)(encoder.config.model_copy(update={"max_tokens": 30})).load_caption_tower(CPU)
    tokens = shorter.prepare(str(golden["captions"][-1]), KEY)
    np.testing.assert_array_equal(tokens, [*golden["long_ids"][:29], golden["long_ids"][-1]])


def test_which_part_of_a_longer_clip():
    clip = np.arange(400, dtype=np.float32)
    starts = {crop: cut(clip, 299, crop, lambda starts: starts[-1])[0] for crop in ("random", "start", "middle")}
    assert starts == {"random": 100, "start": 0, "middle": 50}
    with pytest.raises(ValueError, match="at least one sample"):
        cut(clip[:0], 299, "random", len)


def test_what_is_no_such_checkpoint_or_vocabulary_is_said_in_a_sentence(filled_folder, tmp_path, monkeypatch):
    encoder = ms_clap.encoder(filled_folder)
    weights = network.read_checkpoint(encoder.config.checkpoint, "2023")
    real, imaginary = (f"{network.AUDIO['2023']}{name}" for name in network.KERNELS)
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
            network.read_checkpoint(encoder.config.checkpoint, "2023")
    lacking = type(encoder)(encoder.config.model_copy(update={"text_model": str(tmp_path)}))
    with pytest.raises(UserError, match=r"lacks vocab\.json and merges\.txt of gpt2: run"):
        lacking.caption_identity()
    gpt2_files.write(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0, "<|endoftext|>": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(CheckpointError, match="is not the vocabulary of gpt2, which has 50257 tokens"):
        lacking.load_caption_tower(CPU)
