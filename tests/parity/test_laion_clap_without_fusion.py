"""LAION-CLAP without fusion against the package's own network: the music and speech checkpoints (HTSAT-base)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled import laion_clap, laion_clap_transformers
from parity.fill import sine_mix

from pipeline.checkpoints.weights import CheckpointError, read_state_dict
from pipeline.networks import clap as clap_audio
from pipeline.networks import laion_clap_package as package
from pipeline.networks.log_mel import MelScale
from stages.embed.encoder import seeded_draw
from stages.embed.encoders.laion_clap import ENCODER, ClipTower

CPU = torch.device("cpu")
LENGTH = 480_000
KEY = b"k" * 16
BASE = {"amodel": "HTSAT-base", "fusion": False, "small_text": True}
PUBLISHED = {"fuse_short": False, "quantise_int16": True, "max_tokens": 77}


@pytest.fixture(scope="module")
def tower(filled_folder):
    return laion_clap.encoder(filled_folder, **BASE, **PUBLISHED).load_clip_tower(CPU)


@pytest.fixture(scope="module")
def original(filled_folder):
    """The package's `CLAP`, filled from the same file and run by its own code."""
    config = laion_clap.encoder(filled_folder, **BASE).config
    text = package.text_config(filled_folder / "small-roberta")
    return package.load(Path(config.checkpoint), config.amodel, False, text)


def as_the_package_hears(samples, start=0):
    """Rounded to 16 bits, then cropped, or repeated and padded."""
    rounded = (np.clip(samples, -1, 1) * 32767.0).astype(np.int16) / 32767.0
    if len(samples) <= LENGTH:
        rounded = np.tile(rounded, LENGTH // len(samples))
        return torch.from_numpy(np.pad(rounded, (0, LENGTH - len(rounded)))).float()
    return torch.from_numpy(rounded[start : start + LENGTH]).float()


@pytest.mark.parametrize("samples", [150_000, LENGTH, 700_000])
def test_a_clip_as_the_package_embeds_it(tower, original, samples):
    clip = sine_mix(samples, 48_000)
    start = seeded_draw(KEY, 0)(range(max(samples - LENGTH, 0) + 1))
    theirs = original.get_audio_embedding([{"waveform": as_the_package_hears(clip, start)}]).numpy()
    ours = tower.encode([tower.prepare(clip, KEY)])
    assert ours.shape == (1, 512) and np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("samples", [150_000, 700_000])
def test_the_reference_loader_gives_the_same_rows(filled_folder, tower, samples):
    reference = laion_clap.encoder(filled_folder, **BASE, **PUBLISHED, loader="package").load_clip_tower(CPU)
    clips = [tower.prepare(sine_mix(n, 48_000), KEY) for n in (samples, 200_000)]
    assert torch.equal(reference.prepare(sine_mix(samples, 48_000), KEY).mel, clips[0].mel)
    np.testing.assert_allclose(reference.encode(clips), tower.encode(clips), rtol=0, atol=1e-5)


def test_the_scale_is_that_of_the_package(original):
    wave = as_the_package_hears(sine_mix(LENGTH, 48_000))
    branch = original.audio_branch
    theirs = branch.logmel_extractor(branch.spectrogram_extractor(wave[None]))[0, 0]
    ours = clap_audio.log_mel(wave, MelScale(slaney=True))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-2)  # decibels; quiet bins round differently
    other = clap_audio.log_mel(wave, MelScale())
    assert (other - theirs).abs().mean() > 1


def test_a_row_does_not_depend_on_its_batch(tower):
    batch = [tower.prepare(sine_mix(n, 48_000, n), KEY) for n in (48_000, 600_000, LENGTH)]
    alone = np.concatenate([tower.encode([one]) for one in batch])
    np.testing.assert_allclose(tower.encode(batch), alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(tower.encode(batch[::-1]), alone[::-1], rtol=0, atol=1e-5)


def test_crops_depend_on_key_and_seed_alone(tower):
    samples = sine_mix(700_000, 48_000)
    first = tower.prepare(samples, KEY)
    tower.prepare(samples, b"another key 1234")
    assert torch.equal(tower.prepare(samples, KEY).mel, first.mel)
    other = ClipTower(tower._network, seed=1, fuse_short=False, antialias=False, quantise_int16=True)
    assert not torch.equal(other.prepare(samples, KEY).mel, first.mel)


def test_through_transformers_it_is_the_same(filled_folder, tower):
    converted = laion_clap_transformers.encoder(filled_folder, **BASE, **PUBLISHED).load_clip_tower(CPU)
    assert not converted._network.fusion
    clip = tower.prepare(sine_mix(150_000, 48_000), KEY)
    np.testing.assert_allclose(converted.encode([clip]), tower.encode([clip]), rtol=0, atol=1e-6)
    assert converted._network.scale == tower._network.scale == MelScale(slaney=True)


def test_captions_as_the_package_embeds_them(filled_folder, original):
    tower = laion_clap.encoder(filled_folder, **BASE, **PUBLISHED).load_caption_tower(CPU)
    tokens = [tower.prepare(text, KEY) for text in ("a dog barks", "x" * 200)]
    assert [len(one) for one in tokens] == [13, 77]
    ids = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=1)
    theirs = original.get_text_embedding({"input_ids": ids, "attention_mask": (ids != 1).long()})
    np.testing.assert_allclose(tower.encode(tokens), theirs.numpy(), rtol=0, atol=1e-5)


def test_a_checkpoint_of_another_scale_is_refused(filled_folder, tmp_path):
    config = laion_clap.encoder(filled_folder, **BASE).config
    weights = dict(read_state_dict(Path(config.checkpoint)))
    weights["audio_branch.logmel_extractor.melW"] = MelScale().filters()
    torch.save(weights, tmp_path / "htk.pt")
    encoder = ENCODER(config.model_copy(update={"checkpoint": tmp_path / "htk.pt"}))
    with pytest.raises(CheckpointError, match=r"htk\.pt was trained on another mel scale"):
        encoder.load_clip_tower(CPU)
