"""Models by the package open_clip_torch: its networks, tokenizers and transforms, weights loaded strictly.

Imported only where a model is loaded. The family `clip-like` reads files of the same format without the package, as far
as timm has the image tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal

import open_clip  # type: ignore[import-untyped]
import torch
from torch import Tensor
from transformers.initialization import no_init_weights

from pipeline.checkpoints.open_clip import OpenClipModel
from pipeline.checkpoints.weights import CheckpointError, drop_position_ids, first_line, load_strictly, read_files
from pipeline.networks.packed import place

BLOCKS = (open_clip.transformer.ResidualAttentionBlock, open_clip.transformer.CustomResidualAttentionBlock)


def load(found: OpenClipModel, tower: Literal["vision", "text"], device: torch.device) -> Any:
    """The model with one of its towers on the device; all keys of the weights have to fit.

    Raises:
        CheckpointError: the settings describe no model, a file cannot be used, or a key does not fit.
    """
    model = _build(found)
    unwanted = [name for name in ("text" if tower == "vision" else "visual", "text_decoder") if hasattr(model, name)]
    for name in unwanted:
        setattr(model, name, getattr(model, name).to("meta"))
    state = _converted(model, read_files(found.weights), found)
    skipped = tuple(f"{name}." for name in unwanted)
    load_strictly(
        model, state, found.weights[0], f"open_clip's {type(model).__name__}", skip=lambda key: key.startswith(skipped)
    )
    for name in unwanted:
        setattr(model, name, None)
    return _placed(model, device)


def transform(found: OpenClipModel, model: Any) -> tuple[Any, Tensor, Tensor]:
    """open_clip's evaluation transform as (what it does to a PIL image before it is a tensor, mean, deviation).

    Raises:
        CheckpointError: the settings ask for what open_clip does not have.
    """
    known = set(open_clip.transform.PreprocessCfg.__dataclass_fields__)
    options = {key: value for key, value in found.preprocessing.items() if key in known}
    try:
        steps = open_clip.transform.image_transform_v2(
            open_clip.transform.PreprocessCfg(**{**options, "size": model.visual.image_size}), is_train=False
        ).transforms
    except (AssertionError, TypeError, ValueError) as error:
        raise CheckpointError(f"open_clip has no preprocessing {options}: {first_line(error)}") from error
    normalise = steps[-1]

    def resized(image: Any) -> Any:
        for step in steps[:-2]:
            image = step(image)
        return image

    return resized, torch.tensor(normalise.mean).view(3, 1, 1), torch.tensor(normalise.std).view(3, 1, 1)


def load_tokenizer(found: OpenClipModel) -> Any:
    """Texts to token ids, (texts, context length), as open_clip makes them for a model.

    Raises:
        CheckpointError: the tokenizer's files cannot be used.
    """
    text = found.settings["text_cfg"]
    options = {"context_length": text.get("context_length", 77), **(text.get("tokenizer_kwargs") or {})}
    if found.text_folder is None:
        return open_clip.tokenizer.SimpleTokenizer(**options)
    try:
        return open_clip.tokenizer.HFTokenizer(
            str(found.text_folder), tokenizer_mode=text.get("tokenizer_mode"), **options
        )
    except Exception as error:  # missing and damaged files raise anything
        raise CheckpointError(f"{found.text_folder} has no usable tokenizer: {first_line(error)}") from error


def causal_mask(model: Any) -> Tensor | None:
    """The attention mask of a text tower that reads a caption up to its end only; None for other towers.

    Tokens after the end, which such a tower is given for its fixed length, do not change what it computes.
    """
    text = model.text
    if not isinstance(text, open_clip.transformer.TextTransformer) or text.pool_type != "argmax":
        return None
    mask: Tensor | None = None if text.cls_emb is not None or text.use_pad_mask else text.attn_mask
    return mask


def _build(found: OpenClipModel) -> Any:
    settings = deepcopy(found.settings)
    vision, text = settings["vision_cfg"], settings["text_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if "hf_model_name" in text:
        text.update(hf_model_name=str(found.text_folder), hf_model_pretrained=False)
    custom = settings.pop("custom_text", False) or "hf_model_name" in text
    # What is CLIP to the package is loaded in its newer form, whose text tower is a module of its own.
    kind = open_clip.coca_model.CoCa if custom and "multimodal_cfg" in settings else open_clip.model.CustomTextCLIP
    try:
        with no_init_weights():
            return kind(**settings).float()
    except Exception as error:  # settings that open_clip, timm or transformers refuse raise anything
        raise CheckpointError(f"open_clip makes no model of these settings: {first_line(error)}") from error


def _converted(model: Any, state: dict[str, Tensor], found: OpenClipModel) -> Mapping[str, Tensor]:
    """Weights by the names of the model: those of Apple's files and of files without a text tower of its own."""
    drop_position_ids(state, found.weights[0])
    state = open_clip.convert.convert_state_dict(model, state)
    if "positional_embedding" in state:
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    for name in ("logit_scale", "logit_bias"):
        own = getattr(model, name, None)
        if own is not None and name in state and state[name].numel() == own.numel():
            state[name] = state[name].reshape(own.shape)  # () and (1,) are both in use
    return state


def _placed(model: Any, device: torch.device) -> Any:
    """On the device; packed where open_clip calls a layer rather than take its weights out of it."""
    model.to(device).eval().requires_grad_(False)
    for module in list(model.modules()):
        if isinstance(module, open_clip.timm_model.TimmModel):
            place(module.trunk, device)
        elif isinstance(module, open_clip.hf_model.HFTextEncoder):
            place(module.transformer, device)
        elif isinstance(module, BLOCKS):
            place(module.mlp, device)
        if hasattr(module, "qkv_bias_separate"):  # else timm's EVA takes the weights out of a layer, packed or not
            module.qkv_bias_separate = True
    return model
