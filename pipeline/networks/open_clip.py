"""Models in open_clip's folder format whose image tower is timm's: SigLIP, EVA-02-CLIP, ConvNeXt-CLIP.

timm has image towers only: the text tower of the same file is computed by `transformers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import timm
from timm.layers import Mlp
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, SiglipConfig, SiglipImageProcessor, SiglipModel
from transformers.image_utils import PILImageResampling
from transformers.initialization import no_init_weights
from transformers.modeling_outputs import BaseModelOutputWithPooling

from pipeline.checkpoints.hub import read_json
from pipeline.checkpoints.weights import CheckpointError, first_line, load_strictly, read_files

SETTINGS = "open_clip_config.json"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # if none are stated
LAYER_PARTS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
OUTSIDE = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection.weight": "text_model.head.weight",
    "text_projection.bias": "text_model.head.bias",
}


class Visual(nn.Module):
    """An image tower of timm, with the projection that some models have after it."""

    def __init__(self, settings: dict[str, Any], dim: int) -> None:
        super().__init__()
        name, projection = settings["timm_model_name"], settings.get("timm_proj", "linear")
        pool = {"global_pool": settings["timm_pool"]} if settings.get("timm_pool") else {}
        last = dim if not projection else 0
        self.trunk = timm.create_model(name, pretrained=False, num_classes=last, **pool)
        self.head = nn.Sequential()
        if projection == "linear":
            self.head.add_module("proj", nn.Linear(self.trunk.num_features, dim, settings.get("timm_proj_bias", False)))
        elif projection == "mlp":
            bias = (True, settings.get("timm_proj_bias", False))
            self.head.add_module("mlp", Mlp(self.trunk.num_features, 2 * dim, dim, bias=bias))

    def forward(self, images: Tensor) -> Tensor:
        """(images, dim) embeddings of normalised (images, 3, side, side)."""
        return self.head(self.trunk(images))


class OpenClip(nn.Module):
    """Both towers, with the methods and the `config` of a model of `transformers`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.visual = Visual(settings["vision_cfg"], settings["embed_dim"])
        self.text = _text_model(settings)
        self.config = self.text.config
        self.config.vision_config.image_size = settings["vision_cfg"].get("image_size", 224)

    def get_image_features(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        """Embeddings (images, dim) as `pooler_output`."""
        return BaseModelOutputWithPooling(pooler_output=self.visual(pixel_values))

    def get_text_features(self, **inputs: Tensor) -> BaseModelOutputWithPooling:
        """Embeddings (captions, dim) as `pooler_output`."""
        return self.text.get_text_features(**inputs)


def load(folder: Path, weights: Iterable[Path], tower: Literal["vision", "text"]) -> OpenClip:
    """Builds the model that `open_clip_config.json` describes and fills one of its towers; all keys have to fit.

    Raises:
        CheckpointError: a file cannot be used, the image tower is not timm's, or a key does not fit.
    """
    files = list(weights)
    settings = read_json(folder / SETTINGS).get("model_cfg", {})
    if "timm_model_name" not in settings.get("vision_cfg", {}):
        raise CheckpointError(f"{folder / SETTINGS} names no image tower of timm: use `loader: transformers`")
    try:
        with no_init_weights():
            model = OpenClip(settings)
    except CheckpointError:
        raise
    except Exception as error:  # settings that timm or transformers refuse raise anything
        raise CheckpointError(f"{folder}: no model can be made from {SETTINGS}: {first_line(error)}") from error
    unwanted = "text" if tower == "vision" else "visual"
    setattr(model, unwanted, getattr(model, unwanted).to("meta"))
    state = {new: value for key, old in read_files(files).items() for new, value in renamed(key, old)}
    own = model.state_dict()
    for scalar in {"text.logit_scale", "text.logit_bias"} & state.keys() & own.keys():  # of shape () or (1,)
        state[scalar] = state[scalar].reshape(own[scalar].shape)
    name = f"open_clip's {settings['vision_cfg']['timm_model_name']} as {SETTINGS} describes it"
    load_strictly(model, state, files[0], name, skip=lambda key: key.startswith(f"{unwanted}."))
    setattr(model, unwanted, None)
    module: Any
    for module in model.modules():
        if hasattr(module, "qkv_bias_separate"):  # else timm's EVA takes the weights out of a layer, packed or not
            module.qkv_bias_separate = True
    return model.eval().requires_grad_(False)


def renamed(key: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """Names and values in `OpenClip` of a published tensor; unknown names stay."""
    if key.startswith("visual."):
        return [(key, value)]
    own = key.removeprefix("text.")
    if own in ("logit_scale", "logit_bias"):
        return [(f"text.{own}", value)]
    if own == "text_projection":
        return [("text.text_projection.weight", value.T)]
    if own in OUTSIDE:
        return [(f"text.{OUTSIDE[own]}", value)]
    block = re.fullmatch(r"transformer\.resblocks\.(\d+)\.([\w.]+?)[._](weight|bias)", own)
    if block is None:
        return [(key, value)]
    layer, part, kind = f"text.text_model.encoder.layers.{block[1]}", block[2], block[3]
    if part == "attn.in_proj":
        return [
            (f"{layer}.self_attn.{name}_proj.{kind}", rows) for name, rows in zip("qkv", value.chunk(3), strict=True)
        ]
    return [(f"{layer}.{LAYER_PARTS.get(part, part)}.{kind}", value)]


def load_processor(folder: Path) -> Any:
    """Resizing, cropping and normalising as `open_clip_config.json` says.

    Raises:
        CheckpointError: it asks for something else.
    """
    settings = read_json(folder / SETTINGS)
    wanted = settings.get("preprocess_cfg", {})
    side = wanted.get("size") or settings.get("model_cfg", {}).get("vision_cfg", {}).get("image_size", 224)
    height, width = side if isinstance(side, list) else (side, side)
    size = {"height": height, "width": width}
    mode, way = wanted.get("resize_mode", "shortest"), str(wanted.get("interpolation", "bicubic"))
    known = way in ("bicubic", "bilinear") and (mode == "squash" or (mode == "shortest" and height == width))
    if not known:
        raise CheckpointError(f"{folder / SETTINGS}: cannot resize images of {height} x {width} by {mode!r}, {way!r}")
    options = {
        "image_mean": list(wanted.get("mean", CLIP_MEAN)),
        "image_std": list(wanted.get("std", CLIP_STD)),
        "resample": PILImageResampling[way.upper()],
    }
    if mode == "squash":
        return SiglipImageProcessor(size=size, **options)
    return CLIPImageProcessor(size={"shortest_edge": height}, crop_size=size, **options)


def _text_model(settings: dict[str, Any]) -> Any:
    """A model of `transformers` with its text tower alone."""
    text = settings["text_cfg"]
    if "hf_model_name" in text:
        raise CheckpointError(f"{SETTINGS}: the text tower {text['hf_model_name']} is not one of CLIP or SigLIP")
    width, tanh = text.get("width", 512), text.get("act_kwargs", {}).get("approximate") == "tanh"
    act = "quick_gelu" if settings.get("quick_gelu") else "gelu_pytorch_tanh" if tanh else "gelu"
    options = {
        "hidden_size": width,
        "intermediate_size": int(width * text.get("mlp_ratio", 4)),
        "num_hidden_layers": text.get("layers", 12),
        "num_attention_heads": text.get("heads", 8),
        "max_position_embeddings": text.get("context_length", 77),
        "vocab_size": text.get("vocab_size", 49408),
        "hidden_act": act,
        "layer_norm_eps": text.get("norm_kwargs", {}).get("eps", 1e-5),
        "bos_token_id": 0,
        "pad_token_id": 1,
    }
    kind = (text.get("pool_type", "argmax"), bool(text.get("no_causal_mask")), bool(text.get("proj_bias")))
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    if kind == ("argmax", False, False):
        # 2 makes the highest token id the end of a caption, as open_clip has it
        own = {**options, "eos_token_id": 2}
        model = CLIPModel(CLIPConfig(text_config=own, vision_config=small, projection_dim=settings["embed_dim"]))
        model.visual_projection = None
    elif kind == ("last", True, True):
        own = {**options, "eos_token_id": 1, "projection_size": settings["embed_dim"]}
        model = SiglipModel(SiglipConfig(text_config=own, vision_config=small))
    else:
        raise CheckpointError(f"{SETTINGS}: the text tower is not one of CLIP or SigLIP (pooling {kind[0]!r})")
    model.vision_model = None
    return model
