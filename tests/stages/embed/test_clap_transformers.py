"""The loader `transformers` of LAION-CLAP on small models of the real architecture, against `ClapModel` itself."""

import json

import huggingface_hub
import numpy as np
import pytest
import torch
from filled import roberta_files
from filled.laion_clap_transformers import HEARING
from huggingface_hub.errors import LocalEntryNotFoundError
from parity.fill import sine_mix
from safetensors.torch import load_file, save_file
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from cache.errors import UserError
from pipeline.checkpoints.weights import CheckpointError
from pipeline.networks import clap_transformers
from pipeline.networks.packed import place
from stages.embed.encoders.laion_clap import ENCODER, Config

CPU = torch.device("cpu")
TEXT = {"num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 400, "hidden_size": 64, "layer_norm_eps": 1e-5}
AUDIO = {"patch_embeds_hidden_size": 32, "hidden_size": 256, "depths": [2, 2, 2, 2]}
KEY = bytes(16)


def write(folder, fusion):
    """A small model with random weights, saved by transformers, with the files of a processor."""
    torch.manual_seed(0)
    roberta_files.write(folder, **roberta_files.SMALL)
    audio = {**AUDIO, "enable_fusion": fusion}
    model = ClapModel(ClapConfig(text_config={**TEXT, "type_vocab_size": 1}, audio_config=audio)).eval()
    for name, value in model.named_parameters():
        if value.ndim:
            value.data.normal_(std=0.2 if "bias" in name else value[0].numel() ** -0.5).add_(float("norm" in name))
    model.save_pretrained(folder)
    settings = {**HEARING, "truncation": "fusion" if fusion else "rand_trunc"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder and model, with and without fusion."""
    folders = {fusion: tmp_path_factory.mktemp(f"fusion-{fusion}") for fusion in (True, False)}
    return {fusion: (folder, write(folder, fusion)) for fusion, folder in folders.items()}


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to damage."""
    copy = tmp_path / "model"
    copy.mkdir()
    for file in saved[False][0].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def encoder(folder, **options):
    return ENCODER(Config(family="laion-clap", loader="transformers", checkpoint=str(folder), **options))


@pytest.mark.parametrize("fusion", [True, False])
@pytest.mark.parametrize("samples", [130_000, 480_000])
def test_a_clip_as_transformers_embeds_it(saved, fusion, samples):
    folder, model = saved[fusion]
    tower, clip = encoder(folder).load_clip_tower(CPU), sine_mix(samples, 48_000)
    inputs = ClapFeatureExtractor.from_pretrained(folder)(clip, sampling_rate=48_000, return_tensors="pt")
    with torch.no_grad():
        theirs = model.get_audio_features(**{name: value.float() for name, value in inputs.items()}).pooler_output
    ours = tower.encode([tower.prepare(clip, KEY)])
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("longer", [True, False])
def test_the_network_with_chunks(saved, longer):
    folder, model = saved[True]
    network = clap_transformers.load_audio(folder)
    mels = torch.randn(2, 4, 1001, 64) * 20 - 40
    with torch.no_grad():
        theirs = model.get_audio_features(input_features=mels, is_longer=torch.tensor([[longer], [True]])).pooler_output
        ours = network(mels.flatten(0, 1), torch.arange(8).view(2, 4), torch.tensor([longer, True]))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_nothing_of_the_network_stays_behind_when_it_moves(saved):
    network = place(clap_transformers.load_audio(saved[True][0]), torch.device("meta"))
    mels = torch.zeros(8, 1001, 64, device="meta")
    rows = network(mels, torch.arange(8).view(2, 4), torch.tensor([False, True]))
    assert rows.device.type == "meta" and rows.shape == (2, 512)


def test_captions_as_transformers_embeds_them(saved):
    folder, model = saved[True]
    tower = encoder(folder, max_tokens=30).load_caption_tower(CPU)
    tokens = [tower.prepare(text, KEY) for text in ("rain on a roof", "", "a dog barks " * 9)]
    assert [len(one) for one in tokens] == [16, 2, 30]
    ids = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=1)
    with torch.no_grad():
        theirs = model.get_text_features(input_ids=ids, attention_mask=(ids != 1).long()).pooler_output
    np.testing.assert_allclose(tower.encode(tokens), theirs.numpy(), rtol=0, atol=1e-5)
    other = encoder(folder, layer_norm_eps=1e-2).load_caption_tower(CPU)
    assert np.abs(other.encode(tokens) - theirs.numpy()).max() > 1e-4


def test_identity_is_the_files(saved):
    folder, _ = saved[True]
    network = {name: folder / name for name in ("config.json", "preprocessor_config.json", "model.safetensors")}
    identity, text = encoder(folder).clip_identity(), encoder(folder).caption_identity()
    assert identity["checkpoint"] == text["checkpoint"] == network
    assert text["text"] == {name: folder / name for name in ("vocab.json", "merges.txt")}
    assert encoder(folder, seed=1).clip_identity() != identity
    assert encoder(folder, seed=1).caption_identity() == text


def test_old_weights_and_shards_are_read(folder):
    weights = load_file(folder / "model.safetensors")
    clip = sine_mix(130_000, 48_000)
    tower = encoder(folder).load_clip_tower(CPU)
    expected = tower.encode([tower.prepare(clip, KEY)])
    (folder / "model.safetensors").unlink()
    weights["text_model.embeddings.position_ids"] = torch.arange(514)[None]  # as older versions saved
    torch.save(weights, folder / "pytorch_model.bin")
    tower = encoder(folder).load_clip_tower(CPU)
    assert np.array_equal(tower.encode([tower.prepare(clip, KEY)]), expected)
    assert folder / "pytorch_model.bin" in encoder(folder).clip_identity()["checkpoint"].values()


def test_every_key_that_does_not_fit_is_listed(folder):
    weights = load_file(folder / "model.safetensors")
    gone = "audio_model.audio_encoder.layers.0.blocks.1.attention.self.key.weight"
    del weights[gone]
    weights["text_projection.linear1.weight"] = torch.zeros(3, 3)
    save_file({**weights, "extra.weight": torch.zeros(1)}, folder / "model.safetensors")
    for load in (encoder(folder).load_clip_tower, encoder(folder).load_caption_tower):
        with pytest.raises(CheckpointError, match=r"model\.safetensors is not a checkpoint of the CLAP that") as caught:
            load(CPU)
        assert str(caught.value).splitlines()[1:] == [
            "1 missing:",
            f"  {gone}",
            "1 unexpected:",
            "  extra.weight",
            "1 of another shape:",
            "  text_projection.linear1.weight: (3, 3) in the file, (512, 64) in the model",
        ]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model_type": "clip"}, r"config\.json describes a model of type 'clip', not 'clap'"),
        (
            "config.json",
            {"audio_config": {**AUDIO, "window_size": 7}},
            r"window_size is 7, but published .* 8",
        ),
        ("config.json", {"audio_config": {"depths": "many"}}, r"config\.json is no configuration of CLAP"),
        ("preprocessor_config.json", {"sampling_rate": 44100}, r"sampling_rate is 44100, but .* have 48000"),
        ("preprocessor_config.json", {"frequency_min": None}, r"preprocessor_config\.json lacks frequency_min"),
    ],
)
def test_another_architecture_is_refused(folder, file, change, message):
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**settings, **change}))
    with pytest.raises(CheckpointError, match=message):
        encoder(folder).load_clip_tower(CPU)


@pytest.mark.parametrize("gone", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_says_what_to_put_there(folder, gone):
    (folder / gone).unlink()
    with pytest.raises(UserError, match=rf"(lacks|neither) {gone}.*laion/clap-htsat-fused.*`checkpoint`"):
        encoder(folder).clip_identity()


def test_damaged_weights(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is cut short or damaged"):
        encoder(folder).load_clip_tower(CPU)


def test_a_hub_id_without_network_says_what_to_put_where(monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("no connection and not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(UserError, match=r"'laion/clap-htsat-fused' is neither .*model\.safetensors.*`checkpoint`"):
        encoder("laion/clap-htsat-fused").clip_identity()
