"""A folder of PE-AV as the hub has it, the real architecture at a small size."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from parity.fill import fill_state_dict
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PeAudioVideoConfig, PeAudioVideoModel, PreTrainedTokenizerFast

from stages.embed.encoders.pe_av import ENCODER, Config, PeAv

WIDTH = 24
MOST_SAMPLES = 60 * 48_000  # a minute of audio instead of ten: it goes through a codec's encoder
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
}
CODEC = {"downsampling_ratios": [2, 8, 10, 12], "encoder_hidden_size": 2, "codebook_dim": 8, "hidden_size": 32}
VISION = {"img_size": 32, "depth": 1, "embed_dim": 16, "num_heads": 1, "patch_size": 16}


def encoder(folder: Path, **options: object) -> PeAv:
    """A ready encoder over a folder that is written if it is not there yet."""
    model = folder / "pe-av"
    if not (model / "config.json").is_file():
        write(model)
    if "fps" not in options:
        options = {"frames": 4, **options}
    return ENCODER(Config(**{"family": "pe-av", "model": str(model), "dim": WIDTH, **options}))


def small_config(vocabulary: int) -> PeAudioVideoConfig:
    """All parts of the model, each as small as it can be."""
    return PeAudioVideoConfig(
        text_config={
            "model_type": "modernbert",
            "hidden_size": WIDTH,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "vocab_size": vocabulary,
            "pad_token_id": 0,
            "cls_token_id": 1,
            "sep_token_id": 2,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "global_attn_every_n_layers": 2,
        },
        audio_video_config={
            **SMALL,
            "audio_config": {"model_type": "pe_audio_encoder", **SMALL, "dac_config": {"model_type": "dac", **CODEC}},
            "video_config": {
                "model_type": "pe_video_encoder",
                **SMALL,
                "vision_config": {
                    "model_type": "timm_wrapper",
                    "architecture": "vit_pe_core_tiny_patch16_384",
                    "num_classes": 20,
                    "model_args": VISION,
                },
            },
        },
    )


def write(folder: Path) -> None:
    """Writes config.json, model.safetensors, processor_config.json and the tokenizer's files."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _tokenizer(folder)
    config = small_config(vocabulary)
    model = PeAudioVideoModel(config)
    fill_state_dict(model)
    save_file(published(model), folder / "model.safetensors")
    config.save_pretrained(folder)
    processor = {
        "processor_class": "PeAudioVideoProcessor",
        "feature_extractor": {
            "feature_extractor_type": "PeAudioFeatureExtractor",
            "feature_size": 1,
            "hop_length": 1920,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
            "sampling_rate": 48000,
        },
        "video_processor": {
            "video_processor_type": "PeVideoVideoProcessor",
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "do_sample_frames": False,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "resample": 2,
            "rescale_factor": 1 / 255,
            "size": {"height": 32, "width": 32},
        },
    }
    (folder / "processor_config.json").write_text(json.dumps(processor))


def published(model: PeAudioVideoModel) -> dict[str, torch.Tensor]:
    """The weights of a model as `save_pretrained` names them: shared ones once."""
    found: dict[int, str] = {}
    for name, value in model.state_dict().items():
        if value.data_ptr() not in found or len(name) < len(found[value.data_ptr()]):
            found[value.data_ptr()] = name
    state = model.state_dict()
    return {name: state[name].clone() for name in sorted(found.values())}


def _tokenizer(folder: Path) -> int:
    """A byte-level BPE as ModernBERT has, without merges; how many tokens it has."""
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)
    return len(vocabulary)
