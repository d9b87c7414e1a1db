"""The larger CLAPs of LAION (HTSAT-base, no fusion) through their YAMLs, against `ClapModel` and `ClapProcessor`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled import laion_clap_transformers
from parity.fill import sine_mix
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer

from pipeline.checkpoints.weights import CheckpointError
from pipeline.config.records import read_yaml
from stages.embed.encoders.laion_clap import ENCODER, Config

CPU, KEY = torch.device("cpu"), b"k" * 16
CONFIGS = Path(__file__).parents[2] / "configs/encoders"
PUBLISHED_PARAMETERS = 193_913_882
"""Of all three, says mteb 2's `clap_models.py`."""
CAPTIONS = ["a dog barks", "rain falls on a tin roof while somebody whistles"]


@pytest.fixture(scope="module")
def folder(filled_folder):
    encoder = laion_clap_transformers.encoder(filled_folder, amodel="HTSAT-base", fusion=False, small_text=True)
    return Path(encoder.config.checkpoint)


@pytest.fixture(scope="module")
def theirs(folder):
    tokenizer = RobertaTokenizer.from_pretrained(folder)
    processor = ClapProcessor(ClapFeatureExtractor.from_pretrained(folder), tokenizer)
    return ClapModel.from_pretrained(folder).eval(), processor


def encoder(folder, name="general", **options):
    given = read_yaml(CONFIGS / f"larger-clap-{name}.yaml") | {"checkpoint": str(folder)} | options
    return ENCODER(Config(**given))


def test_the_architecture_is_the_published_one(folder):
    config = ClapConfig.from_pretrained(folder)
    config.text_config = type(config.text_config)()  # the one on the disk is small
    with torch.device("meta"):
        model = ClapModel(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED_PARAMETERS


@pytest.mark.parametrize("name", ["general", "music", "music-speech"])
def test_each_yaml_names_its_model(name):
    config = encoder("folder", name).config
    assert read_yaml(CONFIGS / f"larger-clap-{name}.yaml")["checkpoint"].endswith(name.replace("-", "_and_"))
    assert config.loader == "transformers" and not config.quantise_int16


def test_clips_as_transformers_embeds_them(folder, theirs):
    model, processor = theirs
    clips = [sine_mix(samples, 48_000, samples) for samples in (20_000, 150_000, 480_000)]
    inputs = processor(audio=clips, sampling_rate=48_000, return_tensors="pt")
    with torch.no_grad():
        rows = model.get_audio_features(input_features=inputs["input_features"].float()).pooler_output
    tower = encoder(folder).load_clip_tower(CPU)
    ours = tower.encode([tower.prepare(clip, KEY) for clip in clips])
    np.testing.assert_allclose(ours, rows, rtol=0, atol=1e-5)


def test_captions_as_transformers_embeds_them(folder, theirs):
    model, processor = theirs
    with torch.no_grad():
        rows = model.get_text_features(**processor(text=CAPTIONS, return_tensors="pt", padding=True)).pooler_output
    tower = encoder(folder, layer_norm_eps=1e-12).load_caption_tower(CPU)
    ours = tower.encode([tower.prepare(caption, KEY) for caption in CAPTIONS])
    np.testing.assert_allclose(ours, rows, rtol=0, atol=1e-5)


def test_a_checkpoint_of_another_size_is_refused_in_a_sentence(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    settings = (tmp_path / "config.json").read_text().replace("[2, 2, 12, 2]", "[2, 2, 6, 2]")
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(settings)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a checkpoint of the CLAP that its config"):
        encoder(tmp_path).load_clip_tower(CPU)
