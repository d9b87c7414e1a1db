"""Pictures and text in one space: CLIP, SigLIP and SigLIP 2 through `transformers`, by a hub id or a local folder.

Weights in timm's or open_clip's format are not read: timm has the image towers only, of the same published weights,
and a picture without its text tower cannot be searched by text.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cache.errors import UserError
from stages.embed.encoder import Encoder, EncoderConfig, FrameInput, Tower
from stages.embed.models import hub_files

if TYPE_CHECKING:
    import torch

VERSION = 1  # raise it when a change of this code changes rows
PICTURE_FILES = ("preprocessor_config.json", "processor_config.json")
TEXT_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        model: a folder with `config.json`, `preprocessor_config.json`, the tokenizer's files and
            `model.safetensors` or `pytorch_model.bin`, or a hub id, which is taken from the Hugging Face cache or
            fetched.
        dim: length of the model's embeddings.
        frames: pictures per clip, from the middle of as many equal parts.
        pool: `normalised` brings each picture's embedding to unit length before the mean over frames; `raw` takes
            the mean of the embeddings as they are. Rows have unit length either way.
        text: what is done to a caption before the tokenizer: `canonical` (lower case, without punctuation, single
            spaces, as SigLIP was trained), `lower` (as SigLIP 2 was trained), `none`, or `auto`, which chooses by
            the folder's tokenizer; CLIP's lower-cases by itself.
    """

    model: str
    dim: Annotated[int, Field(ge=1)]
    frames: Annotated[int, Field(ge=1)] = 8
    pool: Literal["normalised", "raw"] = "normalised"
    text: Literal["auto", "canonical", "lower", "none"] = "auto"


class ClipLike(Encoder[Config]):
    """Pictures by a vision transformer, averaged over frames; text by its text tower.

    Papers: CLIP (2103.00020), SigLIP (2303.15343), SigLIP 2 (2502.14786).
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.dim = config.dim
        self.clip_input = FrameInput(config.frames)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {
            "version": VERSION,
            **self._model_files,
            "preprocessor": self._present(PICTURE_FILES),
            "frames": self.config.frames,
            "pool": self.config.pool,
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        files = self._present(TEXT_FILES)
        if not any(all(name in files for name in names) for names in VOCABULARIES):
            raise UserError(f"{self._folder} has no tokenizer: {self._remedy}.")
        return {"version": VERSION, **self._model_files, "tokenizer": files, "text": self.config.text}

    def load_clip_tower(self, device: torch.device) -> Tower:
        """The image tower on the device."""
        files = self.clip_identity()
        from stages.embed.models import clip_like

        model = clip_like.load(self._folder, files["weights"].values(), "vision")  # type: ignore[attr-defined]
        processor = clip_like.load_processor(self._folder)
        return clip_like.PictureTower(model.to(device), processor, self.config.pool == "normalised")

    def load_caption_tower(self, device: torch.device) -> Tower:
        """The text tower on the device."""
        files = self.caption_identity()
        from stages.embed.models import clip_like, clip_like_text

        tokenizer = clip_like_text.load_tokenizer(self._folder)
        model = clip_like.load(self._folder, files["weights"].values(), "text")  # type: ignore[attr-defined]
        return clip_like_text.CaptionTower(model.to(device), tokenizer, self.config.text)

    @cached_property
    def _folder(self) -> Path:
        files = ("config.json", *PICTURE_FILES, *TEXT_FILES)
        return hub_files.local_folder(self.config.model, files, self._remedy, weights=True)

    @cached_property
    def _model_files(self) -> dict[str, Any]:
        weights = hub_files.weight_files(self._folder, self._remedy)
        config = self._folder / "config.json"
        dim = _dim(hub_files.read_json(config), config)
        if dim != self.config.dim:
            raise UserError(f"{config} gives embeddings of length {dim}: write `dim: {dim}` in the encoder's YAML.")
        return {"config": config, "weights": {path.name: path for path in weights}}

    def _present(self, names: tuple[str, ...]) -> dict[str, Path]:
        return {name: self._folder / name for name in names if (self._folder / name).is_file()}

    @property
    def _remedy(self) -> str:
        hub_id = self.config.model if not Path(self.config.model).is_dir() else "MODEL"
        return (
            f"put config.json, preprocessor_config.json, model.safetensors (or pytorch_model.bin) and the tokenizer's "
            f"files of https://huggingface.co/{hub_id} into a folder and name it as `model` in the encoder's YAML"
        )


def _dim(settings: dict[str, Any], path: Path) -> int:
    """Length of the embeddings that a `config.json` describes."""
    kind = settings.get("model_type")
    if kind == "clip":
        return int(settings.get("projection_dim", 512))
    if kind in ("siglip", "siglip2"):
        return int((settings.get("vision_config") or {}).get("hidden_size", 768))
    raise UserError(f"{path} describes a model of type {kind!r}: this family reads clip, siglip and siglip2.")


ENCODER = ClipLike
