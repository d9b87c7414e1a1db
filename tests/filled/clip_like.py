"""Folders of CLIP, MetaCLIP 2, SigLIP, SigLIP 2 and X-CLIP as the hub has them, real architectures at a small size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from parity.fill import fill_array, fill_state_dict
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    MetaClip2Config,
    MetaClip2Model,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
    XCLIPConfig,
    XCLIPModel,
    XLMRobertaTokenizer,
)

from stages.embed.encoders.clip_like import ENCODER, ClipLike, Config

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
WORDS = ["dog", "barks", "a", "the", "rain", "on", "roof", "person", "cuts", "an", "onion"]
MODELS = {"clip": CLIPModel, "siglip": SiglipModel, "siglip2-fixed": SiglipModel, "siglip2": Siglip2Model}
RELATIVES = {"metaclip2": MetaClip2Model, "xclip": XCLIPModel}
DIMS = {"clip": 24, "siglip": 32, "siglip2-fixed": 32, "siglip2": 32, "metaclip2": 24, "xclip": 24}


def encoder(folder: Path, *, kind: str = "clip", **options: object) -> ClipLike:
    """A ready encoder over a folder that is written if it is not there yet."""
    if not any((folder / name).is_file() for name in ("config.json", "open_clip_config.json")):
        write(folder, kind)
    return ENCODER(Config(**{"family": "clip-like", "model": str(folder), "dim": DIMS[kind], "frames": 3, **options}))


def write(folder: Path, kind: str, config: object = None) -> None:
    """Writes config.json, model.safetensors, preprocessor_config.json and the tokenizer's files.

    The small model by default, else that of a config of `transformers`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if kind in ("clip", "xclip"):
        size = _clip_tokenizer(folder)
    elif kind == "metaclip2":
        size = _xlm_tokenizer(folder)
    else:
        size = _other_tokenizer(folder, gemma=kind != "siglip")
    config = config or _config(kind, size)
    model = {**MODELS, **RELATIVES}[kind](config)
    fill_state_dict(model)
    save_file(model.state_dict(), folder / "model.safetensors")
    config.save_pretrained(folder)
    settings = json.dumps(PREPROCESSORS[kind])
    side = str(config.vision_config.image_size) if hasattr(config.vision_config, "image_size") else "32"
    (folder / "preprocessor_config.json").write_text(settings.replace(" 32", f" {side}"), encoding="utf-8")


def write_open_clip(folder: Path, golden: dict) -> None:
    """Writes a folder in open_clip's format: names, shapes and settings from golden numbers, filled weights."""
    folder.mkdir(parents=True, exist_ok=True)
    filled = {key: fill_array(key, shape) for key, shape in golden["shapes"].items()}
    weights = {key: torch.zeros(()) if value is None else torch.from_numpy(value) for key, value in filled.items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    _dump(folder / "open_clip_config.json", golden["settings"])
    if golden["settings"]["model_cfg"]["text_cfg"]["context_length"] == 64:
        _other_tokenizer(folder, gemma=False)
    else:
        _clip_tokenizer(folder)
        AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # tokenizer.json beside the older files


def smooth_frames(height: int, width: int) -> np.ndarray:
    """Two pictures of soft waves, uint8 (2, height, width, 3): resizing them hardly depends on the library."""
    down, right, channel = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    waves = [np.sin(down / (17 + 3 * channel) + which) * np.cos(right / (23 - 4 * channel)) for which in range(2)]
    return np.round(127.5 + 120 * np.stack(waves)).astype(np.uint8)


def _config(kind: str, vocabulary: int) -> object:
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    if kind == "clip":
        ids = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1}
        text = {**SMALL, "vocab_size": vocabulary, **ids}
        return CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    if kind == "metaclip2":
        text = {**SMALL, "vocab_size": vocabulary, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
        return MetaClip2Config(text_config=text, vision_config=vision, projection_dim=24)
    if kind == "xclip":  # eos_token_id 2 is what the published settings have
        text = {**SMALL, "vocab_size": vocabulary, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
        mit = {"mit_hidden_size": 24, "mit_intermediate_size": 48, "mit_num_attention_heads": 4}
        own = {"projection_dim": 24, "prompt_num_attention_heads": 4}
        return XCLIPConfig(text_config=text, vision_config={**vision, **mit, "num_frames": 4}, **own)
    text = {**SMALL, "vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    if kind == "siglip2":
        return Siglip2Config(text_config=text, vision_config={**SMALL, "patch_size": 8, "num_patches": 16})
    return SiglipConfig(text_config=text, vision_config=vision)


PREPROCESSORS = {
    "clip": {  # as openai/clip-vit-base-patch32 writes it
        "crop_size": 32,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": 32,
    },
    "siglip": {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "SiglipProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": 32, "width": 32},
    },
    "siglip2": {
        "image_processor_type": "Siglip2ImageProcessor",
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "max_num_patches": 16,
        "patch_size": 8,
        "processor_class": "Siglip2Processor",
        "resample": 2,
    },
}
PREPROCESSORS["metaclip2"] = {
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 32},
}
PREPROCESSORS["xclip"] = {  # as microsoft/xclip-base-patch32 writes it, but for the crop, whose default is 224
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "VideoMAEFeatureExtractor",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "processor_class": "XCLIPProcessor",
    "resample": 2,
    "size": 32,
}
PREPROCESSORS["siglip2-fixed"] = PREPROCESSORS["siglip"]


def _clip_tokenizer(folder: Path) -> int:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens, merges = [*letters, *(letter + "</w>" for letter in letters)], []
    for word in WORDS:
        start = word[0] if len(word) > 1 else ""
        for place, letter in enumerate(word[1:], 2):
            after = letter + ("</w>" if place == len(word) else "")
            merges.append(f"{start} {after}")
            start += after
            tokens.append(start)
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    _dump(folder / "vocab.json", {token: place for place, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *dict.fromkeys(merges)]) + "\n", encoding="utf-8")
    marks = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    settings = {**marks, "pad_token": "<|endoftext|>", "do_lower_case": True, "model_max_length": 77}
    _dump(folder / "tokenizer_config.json", {**settings, "tokenizer_class": "CLIPTokenizer"})
    return len(tokens)


def _xlm_tokenizer(folder: Path) -> int:
    """Unigrams with the marks of XLM-V, which MetaCLIP 2 reads text with."""
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    scores = [(mark, 0.0) for mark in marks] + [("▁", -8.0)] + [("▁" + word, -4.0) for word in WORDS]
    scores += [(chr(code), -9.0) for code in range(33, 127)] + [("<mask>", 0.0)]
    XLMRobertaTokenizer(vocab=scores, model_max_length=77).save_pretrained(folder)
    return len(scores)


def _other_tokenizer(folder: Path, *, gemma: bool) -> int:
    """SigLIP's unigrams, or the kind that SigLIP 2 has from Gemma, which does not lower-case."""
    letters = [chr(code) for code in range(33, 127)]
    words = ["▁" + word for word in WORDS]
    if gemma:
        marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
        tokens = [*marks, "▁", *letters]
        made = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [], unk_token="<unk>", fuse_unk=True))
        made.normalizer = normalizers.Replace(" ", "▁")
        made.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
        names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
        settings = {**names, "tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True}
    else:
        marks = ["<pad>", "</s>", "<unk>"]
        scores = [(mark, 0.0) for mark in marks] + [("▁", -8.0)] + [(word, -4.0) for word in words]
        scores += [(letter, -9.0) for letter in letters]
        tokens = [token for token, _ in scores]
        made = Tokenizer(models.Unigram(scores, unk_id=2))
        made.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(" {2,}"), " ")])
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        names = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
        settings = {**names, "tokenizer_class": "SiglipTokenizer", "do_lower_case": True}
    made.add_special_tokens(marks)
    made.save(str(folder / "tokenizer.json"))
    _dump(
        folder / "tokenizer_config.json",
        {**settings, "model_max_length": 64, "model_input_names": ["input_ids"], "padding_side": "right"},
    )
    return len(tokens)


def _dump(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
