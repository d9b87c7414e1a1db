"""Folders in open_clip's format: settings of the package's own models, shrunken, with filled weights."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
from filled import clip_like
from parity.fill import fill_state_dict
from safetensors.torch import save_file

from stages.embed.encoders.open_clip import ENCODER, Config, OpenClip

DIM = 24
TEXT = {"width": 32, "heads": 4, "layers": 2}
NATIVE = {"width": 32, "layers": 2, "head_width": 8, "image_size": 32, "patch_size": 8}
SMALL_TOWERS = {"vit_base_patch16_siglip_224": "test_vit3", "convnext_base": "test_convnext"}
SMALL_TOWERS["eva02_base_patch16_clip_224"] = "eva02_tiny_patch14_224"  # the smallest of its kind that timm has


def settings_of(name: str) -> dict:
    """The package's settings of a model with fewer and narrower layers, a tower of timm with a smaller one of timm."""
    settings = open_clip.get_model_config(name)
    settings["embed_dim"] = DIM
    vision = settings["vision_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_name"] = SMALL_TOWERS[vision["timm_model_name"]]
        if vision["timm_model_name"] != "eva02_tiny_patch14_224":
            vision["image_size"] = 160
        if vision.get("timm_proj") == "none":
            settings["embed_dim"] = 96
    elif isinstance(vision["layers"], list):
        vision.update(layers=[1, 1, 1, 1], width=8, image_size=64)
    else:
        vision.update(NATIVE)
    settings["text_cfg"].update(TEXT)
    if "multimodal_cfg" in settings:
        settings["multimodal_cfg"].update(width=32, heads=4, layers=2)
        vision["attn_pooler_heads"] = 4
    return settings


def write(folder: Path, settings: dict, preprocessing: dict | None = None) -> None:
    """Writes open_clip_config.json and open_clip_model.safetensors, and a tokenizer where the settings name one."""
    folder.mkdir(parents=True, exist_ok=True)
    if "hf_tokenizer_name" in settings["text_cfg"] and "hf_model_name" not in settings["text_cfg"]:
        settings["text_cfg"]["vocab_size"] = clip_like._other_tokenizer(folder, gemma=False)
        marks = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**marks, "tokenizer_class": "TokenizersBackend"}))
    content = {"model_cfg": settings, "preprocess_cfg": preprocessing or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    fill_state_dict(model)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, weights(folder))


def weights(folder: Path) -> Path:
    return folder / "open_clip_model.safetensors"


def encoder(folder: Path, **options: object) -> OpenClip:
    """A ready encoder over a folder that is written if it is not there yet."""
    own = folder / "open-clip"
    if not own.is_dir():
        write(own, settings_of("ViT-B-32"))
    return of(own, **options)


def of(folder: Path, **options: object) -> OpenClip:
    """The encoder of a folder, or with `model` of a name."""
    return ENCODER(Config(**{"family": "open-clip", "model": str(folder), "dim": DIM, "frames": 3, **options}))
