"""The encoder family `ms-clap` with a checkpoint of the published keys and shapes, filled with known weights."""

import json
from pathlib import Path

import torch
from filled import bert_words, gpt2_files, wavcaps
from torchlibrosa.stft import LogmelFilterBank

from stages.embed.encoders.ms_clap import ENCODER, Config, MsClap

GOLDEN = Path(__file__).parents[1] / "parity/golden"
KEYS = {one: json.loads((GOLDEN / f"keys_ms_clap_{one}.json").read_text())["keys"] for one in ("2023", "2022")}


def encoder(folder: Path, release: str = "2023", **options: object) -> MsClap:
    """The encoder with its checkpoint and a small vocabulary in the folder, where they are written if not there."""
    checkpoint = folder / f"CLAP_weights_{release}.pth"
    if not checkpoint.exists():
        weights = {key: _filled(key, shape, release) for key, shape, _ in KEYS[release]}
        old = causal_masks() if release == "2023" else {POSITION_IDS: torch.arange(512)[None]}
        torch.save({"model": weights | old}, checkpoint)
    if release == "2023":
        text_model = gpt2_files.write(folder / "gpt2")
    else:
        bert_words.write_words(folder / "bert-base-uncased" / "vocab.txt")
        text_model = folder / "bert-base-uncased"
    given = {"release": release, "checkpoint": checkpoint, "text_model": str(text_model), **options}
    return ENCODER(Config(family="ms-clap", **given))


POSITION_IDS = "caption_encoder.base.embeddings.position_ids"


def causal_masks() -> dict[str, torch.Tensor]:
    """Constants of GPT-2 as the published file has them, from the transformers of its time."""
    mask, outside = torch.ones(1, 1, 1024, 1024, dtype=torch.bool).tril(), torch.tensor(-1e4)
    layers = [f"caption_encoder.base.h.{layer}.attn." for layer in range(12)]
    return {f"{name}bias": mask for name in layers} | {f"{name}masked_bias": outside for name in layers}


def _filled(key: str, shape: list[int], release: str) -> torch.Tensor:
    if key == "logit_scale":
        return torch.tensor(4.0)
    if key.endswith("melW"):
        rate = 32_000 if release == "2023" else 44_100
        return LogmelFilterBank(sr=rate, n_fft=1024, n_mels=64, fmin=50, fmax=14_000).melW.data
    _, extractor, kernel = key.partition("spectrogram_extractor.")
    return wavcaps.filled_tensor(f"{wavcaps.EXTRACTOR}mel_trans.{kernel}" if extractor else key, shape)
