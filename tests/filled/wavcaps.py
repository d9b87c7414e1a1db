"""The encoder family `wavcaps` with a checkpoint of the published keys and shapes, filled with known weights."""

import json
from pathlib import Path

import torch
from filled.bert_words import write_words
from parity.fill import fill_array
from torchlibrosa.stft import LogmelFilterBank, Spectrogram

from pipeline.networks import swin as swin_order
from stages.embed.encoders.wavcaps import ENCODER, Config, Wavcaps

KEYS = json.loads((Path(__file__).parents[1] / "parity/golden/keys_ase_htsat_bert.json").read_text())["keys"]
EXTRACTOR = "audio_encoder.audio_enc.audio_feats_extractor."
POSITION_IDS = "text_encoder.text_encoder.embeddings.position_ids"


def encoder(folder: Path, **options: object) -> Wavcaps:
    """The encoder with its checkpoint and a small vocabulary in the folder, where they are written if not there."""
    checkpoint, vocabulary = folder / "HTSAT-BERT-PT.pt", folder / "bert-base-uncased" / "vocab.txt"
    if not checkpoint.exists():
        weights = {key: filled_tensor(key, shape) for key, shape, _ in KEYS} | {POSITION_IDS: torch.arange(512)[None]}
        torch.save({"model": weights, "epoch": 3}, checkpoint)
    write_words(vocabulary)
    given = {"checkpoint": checkpoint, "text_model": str(vocabulary.parent), **options}
    return ENCODER(Config(family="wavcaps", **given))


def filled_tensor(key: str, shape: list[int]) -> torch.Tensor:
    """The known value of a key, constants of the network included."""
    if key == "temp":
        return torch.tensor(0.07)
    if key.endswith("relative_position_index"):
        return swin_order.position_index()
    if key.endswith("attn_mask"):
        return swin_order.shift_mask(int(shape[0] ** 0.5) * swin_order.WINDOW)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.startswith(EXTRACTOR):
        return _extractor()[key.removeprefix(EXTRACTOR)]
    return torch.from_numpy(fill_array(key, shape))


def _extractor() -> dict[str, torch.Tensor]:
    spectrogram = Spectrogram(n_fft=1024, hop_length=320)
    mel = LogmelFilterBank(sr=32_000, n_fft=1024, n_mels=64, fmin=50, fmax=14_000)
    return {f"mel_trans.{k}": v for k, v in spectrogram.state_dict().items()} | {"log_trans.melW": mel.melW.data}
