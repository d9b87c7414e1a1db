"""`clip-like` with `loader: timm` against golden numbers of open_clip 3.3.0 (filled weights, small towers of timm)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from filled import clip_like
from safetensors.torch import load_file, save_file

from cache.errors import UserError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "open_clip.json").read_text())["models"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {kind: tmp_path_factory.mktemp(kind) for kind in GOLDEN}
    for kind, folder in made.items():
        clip_like.write_open_clip(folder, GOLDEN[kind])
    return made


def encoder(folders, kind, **options):
    dim = GOLDEN[kind]["settings"]["model_cfg"]["embed_dim"]
    return clip_like.encoder(folders[kind], **{"kind": "clip", "loader": "timm", "dim": dim, **options})


@pytest.mark.parametrize("kind", GOLDEN)
def test_pictures(folders, kind):
    tower = encoder(folders, kind).load_clip_tower(CPU)
    clips = [clip_like.smooth_frames(160, 160), clip_like.smooth_frames(170, 200)]
    prepared = [tower.prepare(clip, b"") for clip in clips]
    exact, resized = tower.encode(prepared)
    np.testing.assert_allclose(exact, GOLDEN[kind]["rows"]["160x160"], atol=1e-5)
    np.testing.assert_allclose(resized, GOLDEN[kind]["rows"]["170x200"], atol=2e-3)  # open_clip resizes by Pillow
    np.testing.assert_allclose(tower.encode(prepared[1:])[0], resized, atol=1e-5)


@pytest.mark.parametrize("kind", GOLDEN)
def test_captions(folders, kind):
    tower = encoder(folders, kind).load_caption_tower(CPU)
    rows = tower.encode([tower.prepare(text, b"") for text in ("A dog barks", "the RAIN on a roof")])
    np.testing.assert_allclose(rows, GOLDEN[kind]["rows"]["captions"], atol=1e-5)


def test_all_keys_have_to_fit(folders, tmp_path):
    folder = tmp_path / "copy"
    clip_like.write_open_clip(folder, GOLDEN["siglip"])
    file = folder / "open_clip_model.safetensors"
    weights = load_file(file)
    weights["text.strange"] = weights.pop("text.ln_final.bias")
    save_file(weights, file)
    says = r"\n1 missing:\n  text\.text_model\.final_layer_norm\.bias\n1 unexpected:\n  text\.strange"
    for load in ("load_clip_tower", "load_caption_tower"):
        with pytest.raises(UserError, match=says):
            getattr(encoder({"siglip": folder}, "siglip"), load)(CPU)


@pytest.mark.parametrize(
    ("part", "option", "value", "says"),
    [
        ("vision_cfg", "timm_model_name", "no_such_tower", r"no model can be made from open_clip_config\.json"),
        ("vision_cfg", "timm_model_name", None, "names no image tower of timm: use `loader: transformers`"),
        ("text_cfg", "hf_model_name", "roberta-base", "the text tower roberta-base is not one of CLIP or SigLIP"),
        ("text_cfg", "pool_type", "mean", "not one of CLIP or SigLIP .*'mean'"),
    ],
)
def test_other_models_are_refused(tmp_path, part, option, value, says):
    golden = json.loads(json.dumps(GOLDEN["convnext"]))
    settings = golden["settings"]["model_cfg"][part]
    settings.pop(option, None)
    settings.update({option: value} if value else {})
    clip_like.write_open_clip(tmp_path / "other", golden)
    with pytest.raises(UserError, match=says):
        encoder({"convnext": tmp_path / "other"}, "convnext").load_clip_tower(CPU)


def test_a_folder_for_the_other_loader(folders):
    with pytest.raises(UserError, match=r"neither model\.safetensors nor pytorch_model\.bin: put config\.json"):
        encoder(folders, "siglip", loader="transformers").clip_identity()
