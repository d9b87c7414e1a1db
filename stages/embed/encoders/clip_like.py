"""Pictures and text in one space: CLIP, SigLIP, SigLIP 2 and their relatives, by a hub id or a local folder.

One family, two loaders. `transformers`, the default, has both towers, and SigLIP with the activation it was trained
with. `timm` is for models published in open_clip's format (EVA-02, ConvNeXt, `timm/ViT-B-16-SigLIP`):
timm has image towers only, so that the text tower of the same file is computed by `transformers` there as well.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cache.errors import UserError
from pipeline import hub_files
from pipeline.checkpoints.official import fetch_or
from stages.embed.encoder import Encoder, EncoderConfig, FrameInput, Tower

if TYPE_CHECKING:
    import torch

VERSION = 1  # raise it when a change of this code changes rows
SETTINGS = {"transformers": "config.json", "timm": "open_clip_config.json"}
WEIGHTS = {"transformers": hub_files.TRANSFORMERS, "timm": hub_files.OPEN_CLIP}
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
        model: a hub id, which is taken from the Hugging Face cache or fetched, or a folder with the same files:
            `config.json`, `preprocessor_config.json`, the tokenizer's, and `model.safetensors` or
            `pytorch_model.bin`; with `loader: timm` `open_clip_config.json`, `tokenizer.json`,
            `tokenizer_config.json`, and `open_clip_model.safetensors` or `open_clip_pytorch_model.bin`.
        dim: length of the model's embeddings.
        loader: `transformers`, or `timm` for an image tower of timm in open_clip's format. Of one SigLIP the two
            differ a little: timm's base and large towers compute the exact GELU, the training had its tanh form.
        frames: pictures per clip, from the middle of as many equal parts.
        pool: `normalised` brings each picture's embedding to unit length before the mean over frames; `raw` takes
            the mean of the embeddings as they are. Rows have unit length either way.
        text: what is done to a caption before the tokenizer: `canonical` (lower case, without punctuation, single
            spaces, as SigLIP was trained), `lower` (as SigLIP 2 was trained), `none`, or `auto`, which chooses by
            the folder's tokenizer; CLIP's lower-cases by itself.
    """

    model: str
    dim: Annotated[int, Field(ge=1)]
    loader: Literal["transformers", "timm"] = "transformers"
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
            "preprocessor": self._present(PICTURE_FILES) if self.config.loader == "transformers" else {},
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
        self.clip_identity()  # says what is missing before torch is imported
        from stages.embed.models import clip_like
        from stages.embed.models.placing import place

        loader = self._loader()
        model = loader.load(self._folder, self._model_files["weights"].values(), "vision")
        return clip_like.PictureTower(
            place(model, device), loader.load_processor(self._folder), self.config.pool == "normalised"
        )

    def load_caption_tower(self, device: torch.device) -> Tower:
        """The text tower on the device."""
        self.caption_identity()
        from stages.embed.models import clip_like_text
        from stages.embed.models.placing import place

        tokenizer = clip_like_text.load_tokenizer(self._folder)
        model = self._loader().load(self._folder, self._model_files["weights"].values(), "text")
        return clip_like_text.CaptionTower(place(model, device), tokenizer, self.config.text)

    def _loader(self) -> Any:
        from stages.embed.models import clip_like, open_clip

        return open_clip if self.config.loader == "timm" else clip_like

    @cached_property
    def _folder(self) -> Path:
        files = (*SETTINGS.values(), *PICTURE_FILES, *TEXT_FILES)
        return hub_files.local_folder(self.config.model, files, self._remedy, WEIGHTS[self.config.loader])

    @cached_property
    def _model_files(self) -> dict[str, Any]:
        config = self._folder / SETTINGS[self.config.loader]
        weights = hub_files.weight_files(self._folder, WEIGHTS[self.config.loader], self._remedy)
        dim = _dim(hub_files.read_json(config), config)
        if dim != self.config.dim:
            raise UserError(f"{config} gives embeddings of length {dim}: write `dim: {dim}` in the encoder's YAML.")
        return {"loader": self.config.loader, "config": config, "weights": {path.name: path for path in weights}}

    def _present(self, names: tuple[str, ...]) -> dict[str, Path]:
        return {name: self._folder / name for name in names if (self._folder / name).is_file()}

    @property
    def _remedy(self) -> str:
        hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]+", self.config.model)
        origin = f" of https://huggingface.co/{hub_id[0]}" if hub_id else ""
        weights = " or ".join(names[0] for names in WEIGHTS[self.config.loader])
        preprocessor = PICTURE_FILES[:1] if self.config.loader == "transformers" else ()
        files = ", ".join([SETTINGS[self.config.loader], *preprocessor, weights])
        return fetch_or(
            self.config.model,
            f"put {files} and the tokenizer's files{origin} into a folder and name it as `model` in the encoder's YAML",
        )


def _dim(settings: dict[str, Any], path: Path) -> int:
    """Length of the embeddings that `config.json` or `open_clip_config.json` describes."""
    if path.name == SETTINGS["timm"]:
        return int((settings.get("model_cfg") or {}).get("embed_dim", 0))
    kind = settings.get("model_type")
    if kind == "clip":
        return int(settings.get("projection_dim", 512))
    if kind in ("siglip", "siglip2"):
        return int((settings.get("vision_config") or {}).get("hidden_size", 768))
    raise UserError(
        f"{path} describes a model of type {kind!r}: `loader: transformers` reads clip, siglip and siglip2."
    )


ENCODER = ClipLike
