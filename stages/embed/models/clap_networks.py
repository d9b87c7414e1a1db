"""The two networks of CLAP, in the one form that every loader fills."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.embed.models.clap_audio import MelScale
from stages.embed.models.htsat import Htsat


class AudioNetwork(nn.Module):
    """Spectrograms to rows of unit length.

    Args:
        htsat: the branch.
        projection: its features to an embedding.
        scale: the spectrograms that it was trained on.
        length: samples of a clip that it hears at once.
    """

    def __init__(self, htsat: Htsat, projection: nn.Module, scale: MelScale, length: int) -> None:
        super().__init__()
        self.htsat, self.projection = htsat, projection
        self.scale, self.length = scale, length

    @property
    def fusion(self) -> bool:
        """Whether clips that are longer are heard through three chunks as well."""
        return self.htsat.shape.fusion

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.htsat.bn0.weight.device

    def forward(self, mels: Tensor, views: Tensor, fused: Tensor | None) -> Tensor:
        """(clips, dim) rows; the arguments are those of `Htsat`."""
        return functional.normalize(self.projection(self.htsat(mels, views, fused)), dim=-1)


class TextNetwork(nn.Module):
    """Token ids to rows of unit length.

    Args:
        branch: RoBERTa with its pooler.
        projection: its features to an embedding.
    """

    def __init__(self, branch: Any, projection: nn.Module) -> None:
        super().__init__()
        self.branch, self.projection = branch, projection

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.branch.embeddings.word_embeddings.weight.device

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(captions, dim) rows of padded ids and their mask."""
        pooled = self.branch(input_ids=ids, attention_mask=mask).pooler_output
        return functional.normalize(self.projection(pooled), dim=-1)
