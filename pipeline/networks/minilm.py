"""all-MiniLM-L6-v2, a sentence encoder: mean of the token vectors, normalised to length 1, 384-d."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

from pipeline.checkpoints.weights import load_strictly
from pipeline.checkpoints.wheels import WeightsError
from pipeline.networks.bert import Bert
from pipeline.networks.packed import place

DIM = 384
MAX_TOKENS = 256  # sentence_bert_config.json
BATCH = 64  # texts per pass, where texts share passes


class MiniLM:
    """Tokenizer and network of a local all-MiniLM-L6-v2 folder.

    Args:
        folder: holds ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
        device: where the network computes.

    Raises:
        UserError: a file is missing or damaged, or the weights are another network's.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        try:
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            config = json.loads((folder / "config.json").read_text("utf-8"))
            with torch.device("meta"):
                self.network = Bert(config)
            state = load_file(folder / "model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise WeightsError(f"{folder} is not a readable MiniLM folder: {error}") from error
        except Exception as error:  # tokenizers raises bare Exception for a bad file
            if type(error) is not Exception:
                raise
            raise WeightsError(f"{folder / 'tokenizer.json'} is not a readable tokenizer: {error}") from error
        state.pop("embeddings.position_ids", None)  # a constant
        self.network.to_empty(device="cpu")
        load_strictly(self.network, state, folder / "model.safetensors", "the network of its config.json")
        self.network = place(self.network, self.device)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length vectors of texts, in their order.

        On the CPU texts of the same number of tokens share passes: nothing is padded, and a vector does
        not depend on the texts beside it, not in a single bit. Elsewhere texts of similar length share
        passes, and a vector moves by less than 1e-6 with its company.

        Args:
            texts: any strings; an empty one has a vector too, that of the two special tokens.

        Returns:
            (len(texts), 384) float32.
        """
        return self._encode(texts, pads=self.device.type != "cpu")

    def encode_list(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of a fixed list (class names): texts of similar length share passes on every device."""
        return self._encode(texts, pads=True)

    def _encode(self, texts: Sequence[str], pads: bool) -> np.ndarray:
        tokens = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        vectors = np.empty((len(tokens), DIM), np.float32)
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        for _, group in groupby(order, key=lambda i: None if pads else len(tokens[i])):
            alike = list(group)
            for start in range(0, len(alike), BATCH):
                rows = alike[start : start + BATCH]
                vectors[rows] = self._vectors([tokens[i] for i in rows])
        return vectors

    @torch.inference_mode()
    def _vectors(self, tokens: list[list[int]]) -> np.ndarray:
        longest = max(len(ids) for ids in tokens)
        padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids in tokens], device=self.device)
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in tokens], device=self.device)
        hidden = self.network(padded, mask)
        weights = mask.unsqueeze(2).to(hidden.dtype)
        mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        return functional.normalize(mean.float(), dim=1).cpu().numpy()
