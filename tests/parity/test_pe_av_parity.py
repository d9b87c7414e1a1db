"""PE-AV against `transformers`' own model and processor, on a small model of the real architecture."""

import json
import shutil

import numpy as np
import pytest
import torch
from filled import pe_av as filled
from parity.fill import fill_state_dict
from safetensors.torch import load_file, save_file
from transformers import PeAudioVideoModel, PeAudioVideoProcessor

from cache.errors import UserError
from pipeline.monitor.problems import ItemError
from stages.embed.towers import load_tower

CPU = torch.device("cpu")
TEXTS = ["a dog barks", "rain falls on a tin roof while somebody hums"]


@pytest.fixture(scope="module")
def folder(filled_folder):
    filled.encoder(filled_folder)
    return filled_folder / "pe-av"


@pytest.fixture(scope="module")
def package(folder):
    """The package's model, filled as the folder's weights are, and its processor."""
    processor = PeAudioVideoProcessor.from_pretrained(folder)
    model = PeAudioVideoModel(filled.small_config(len(processor.tokenizer)))
    fill_state_dict(model)
    return model.eval(), processor


@pytest.fixture(scope="module")
def clips():
    """Samples of 1.3 s (no whole number of the codec's positions) and four frames."""
    generator = np.random.default_rng(0)
    samples = 0.1 * generator.standard_normal((2, 62_400)).astype(np.float32)
    return list(samples), list(generator.integers(0, 256, (2, 4, 48, 64, 3), np.uint8))


@pytest.fixture(scope="module")
def expected(package, clips):
    """What the model's forward pass has of both clips and texts."""
    model, processor = package
    samples, frames = clips
    audio = processor.feature_extractor(samples, sampling_rate=48_000, return_tensors="pt")
    audio["padding_mask"] = audio["padding_mask"].long()
    videos = [torch.from_numpy(one).permute(0, 3, 1, 2) for one in frames]
    pixels = processor.video_processor(videos, return_tensors="pt")
    text = processor.tokenizer(TEXTS, padding=True, return_tensors="pt")
    text.pop("token_type_ids", None)
    with torch.inference_mode():
        return model(**audio, **pixels, **text)


def rows(tower, items):
    return tower.encode([tower.prepare(item, b"") for item in items])


@pytest.mark.parametrize("modality", ["audio", "video", "audio+video"])
def test_clips_are_those_of_the_package(filled_folder, clips, expected, modality):
    samples, frames = clips
    items = {"audio": samples, "video": frames, "audio+video": list(zip(*clips, strict=True))}[modality]
    found = rows(load_tower(filled.encoder(filled_folder), modality, CPU), items)
    wanted = getattr(expected, f"{modality.replace('+', '_')}_embeds").numpy()
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("modality", ["audio", "video", "audio+video"])
def test_texts_of_each_pairing_are_those_of_the_package(filled_folder, package, expected, modality):
    model, processor = package
    name = f"text_{modality.replace('+', '_')}_embeds"
    after = filled.encoder(filled_folder, text_pooling="after-norm")
    found = rows(load_tower(after, f"text-{modality}", CPU), TEXTS)
    np.testing.assert_allclose(found, getattr(expected, name).numpy(), rtol=0, atol=1e-5)
    # Meta's code and mteb take the row before the last norm: the package's own encoder without that norm
    inputs, norm = processor.tokenizer(TEXTS, padding=True, return_tensors="pt"), model.text_model.final_norm
    inputs.pop("token_type_ids", None)
    head = {"audio": model.audio_model.text_audio_head, "video": model.video_model.text_video_head}
    try:
        model.text_model.final_norm = torch.nn.Identity()
        with torch.inference_mode():
            first = model.text_model(**inputs).last_hidden_state[:, 0]
            wanted = head.get(modality, model.text_audio_video_head)(first).numpy()
    finally:
        model.text_model.final_norm = norm
    before = rows(load_tower(filled.encoder(filled_folder), f"text-{modality}", CPU), TEXTS)
    np.testing.assert_allclose(before, wanted, rtol=0, atol=1e-5)
    assert np.abs(before - found).max() > 1e-3


def test_clips_of_different_length_do_not_touch_each_other(filled_folder, clips):
    tower = load_tower(filled.encoder(filled_folder), "audio", CPU)
    items = [clips[0][0], clips[0][1][:20_000], clips[0][1]]
    together = rows(tower, items)
    alone = np.concatenate([rows(tower, [item]) for item in items])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_a_clip_longer_than_the_models_positions_is_refused(filled_folder):
    tower = load_tower(filled.encoder(filled_folder), "audio", CPU)
    with pytest.raises(ItemError, match="500 s of audio are more than PE-AV's 400 s: cut the media into windows"):
        tower.prepare(np.zeros(500 * 48_000, np.float32), b"")


def test_each_tower_has_a_fingerprint_of_its_own_and_options_move_only_what_they_change(filled_folder):
    encoder = filled.encoder(filled_folder)
    own = {tower: encoder.identity(tower) for tower in encoder.towers}
    assert len({str(identity) for identity in own.values()}) == 6
    other = filled.encoder(filled_folder, text_pooling="after-norm")
    assert [tower for tower in own if other.identity(tower) != own[tower]] == [
        "text-audio",
        "text-video",
        "text-audio+video",
    ]
    faster = filled.encoder(filled_folder, fps=2)
    assert [tower for tower in own if faster.identity(tower) != own[tower]] == ["video", "audio+video"]


def test_weights_that_the_model_shares_may_stand_twice_but_not_differ(filled_folder, folder, tmp_path, clips):
    copy = tmp_path / "pe-av"
    shutil.copytree(folder, copy)
    state = load_file(folder / "model.safetensors")
    name = next(key for key in state if key.startswith("audio_model.audio_encoder.") and key.endswith("weight"))
    twin = "audio_video_encoder.embedder.audio_encoder." + name.removeprefix("audio_model.audio_encoder.")
    save_file({**state, twin: state[name].clone()}, copy / "model.safetensors")
    encoder = filled.encoder(tmp_path)
    both = load_tower(filled.encoder(filled_folder), "audio", CPU), load_tower(encoder, "audio", CPU)
    np.testing.assert_array_equal(*(rows(tower, clips[0]) for tower in both))
    save_file({**state, twin: state[name] + 1}, copy / "model.safetensors")
    with pytest.raises(UserError, match=f"two values of {name}"):
        load_tower(encoder, "audio", CPU)
    state.pop(name)
    save_file(state, copy / "model.safetensors")
    with pytest.raises(UserError, match="is not a checkpoint of PeAudioVideoModel"):
        load_tower(encoder, "text-audio", CPU)  # also by a tower that does not need it


def test_another_model_is_refused_in_a_sentence(folder, tmp_path):
    copy = tmp_path / "pe-av"
    shutil.copytree(folder, copy)
    settings = json.loads((copy / "config.json").read_text())
    with pytest.raises(UserError, match="embeddings of length 24: write `dim: 24`"):
        filled.encoder(tmp_path, dim=1024).identity("audio")
    (copy / "config.json").write_text(json.dumps({**settings, "model_type": "clip"}))
    with pytest.raises(UserError, match="type 'clip', not pe_audio_video"):
        filled.encoder(tmp_path).identity("audio")
