"""An encoder of `configs/encoders/` as a model of mteb, over the row store: what is asked for twice is embedded once.

mteb is an extra of the package: `uv sync --extra mteb`. Text and audio are embedded; mteb's video inputs are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.errors import UserError
from cache.keys import caption_keys, content_hash, feature_key, pack_keys, unpack_keys
from cache.location import Store
from cache.row_store import RowStore
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.config.layout import modality_of
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.local import LocalRunner
from pipeline.runner.rows import Row
from pipeline.runner.run import compute_missing
from stages.embed.encoder import AudioInput, caption_tower_of, clip_tower_of, items_of
from stages.embed.registry import load_encoder
from stages.embed.towers import TowerLoader, identity_of

if TYPE_CHECKING:
    from mteb.models import ModelMeta

AUDIO_RATE = 48_000
"""Of samples for an encoder that takes any rate."""


def model(name: str, device: str | None = None) -> HearonceModel:
    """An encoder for `mteb.evaluate`.

    Args:
        name: of a YAML file in `configs/encoders/`; `ENCODER@MODALITY` for one modality of several.
        device: `cpu`, `cuda`, ...; a GPU where there is one by default.

    Raises:
        UserError: there is no such encoder, or mteb is not installed.

    Example:
        >>> mteb.evaluate(hearonce.mteb.model("laion-clap"), tasks)  # doctest: +SKIP
    """
    try:
        import mteb  # noqa: F401
    except ImportError as error:
        raise UserError(f"mteb cannot be imported ({error}): run `uv sync --extra mteb`.") from None
    return HearonceModel(name, device)


class HearonceModel:
    """mteb's `EncoderProtocol` over an encoder's towers and row store.

    Args:
        name: of the encoder.
        device: where its towers lie.
    """

    def __init__(self, name: str, device: str | None = None) -> None:
        self.name, self.encoder, self._device = name, load_encoder(name), device

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb writes beside results: the encoder's name, and its fingerprint as the revision."""
        from mteb.models import ModelMeta

        tower = self.encoder.towers[0]
        known = {"name": f"hearonce/{self.name}", "revision": fingerprint_of(identity_of(self.encoder, tower))[0]}
        fields: dict[str, Any] = {name: None for name, field in ModelMeta.model_fields.items() if field.is_required()}
        return ModelMeta(**{**fields, **known, "framework": [], "modalities": self._modalities()})

    def _modalities(self) -> list[str]:
        inputs = [self.encoder.input_of(one) for one in self.encoder.towers if items_of(one) == "clips"]
        with_text = len(inputs) < len(self.encoder.towers)
        return ["text"] * with_text + ["audio"] * any(isinstance(one, AudioInput) for one in inputs)

    def encode(self, inputs: Iterable[Any], **options: Any) -> np.ndarray:
        """Float32 (items, dim) of the batches of a mteb data loader.

        Raises:
            UserError: the batches hold neither text nor audio, or the encoder has no tower for them.
        """
        columns = getattr(getattr(inputs, "dataset", None), "column_names", None) or ()
        if "audio" in columns and "text" not in columns:
            return self._audio(inputs)
        texts = [text for batch in inputs for text in self._column(batch, "text")]
        return self._rows(caption_tower_of(self.encoder, modality_of(self.name)), caption_keys(texts), texts)

    @staticmethod
    def _column(batch: Any, name: str) -> Sequence[Any]:
        if name not in batch:
            raise UserError(f"mteb gave {', '.join(batch)}: an encoder of hearonce embeds text or audio.")
        column: Sequence[Any] = batch[name]
        return column

    def _audio(self, inputs: Any) -> np.ndarray:
        from mteb.models.modality_collators import AudioCollator

        tower = clip_tower_of(self.encoder, modality_of(self.name))
        given = self.encoder.input_of(tower)
        if not isinstance(given, AudioInput):
            raise UserError(f"Encoder {self.name!r} embeds no audio.")
        rate = given.sample_rate or AUDIO_RATE
        inputs.collate_fn = AudioCollator(target_sampling_rate=rate)
        clips = [
            np.ascontiguousarray(np.asarray(one["array"], np.float32).reshape(-1))
            for batch in inputs
            for one in self._column(batch, "audio")
        ]
        keys = [content_hash("samples", [rate, feature_key(samples).hex()]) for samples in clips]
        return self._rows(tower, pack_keys(keys), clips)

    def _rows(self, tower: str, keys: np.ndarray, items: Sequence[Any]) -> np.ndarray:
        """Rows by key, those that the store lacks computed."""
        fingerprint, identity = fingerprint_of(identity_of(self.encoder, tower))
        kind, row_format = items_of(tower), self.encoder.row_format(tower)
        store = RowStore.ensure(Store.default().rows, kind, fingerprint, row_format, identity)
        own = unpack_keys(keys)
        item_of = dict(zip(own, items, strict=True))
        rows = [Row(str(number), key, "mteb", "") for number, key in enumerate(own)]

        def read(group: Sequence[Row]) -> Iterator[tuple[Row, Any]]:
            return ((row, item_of[row.key]) for row in group)

        load = TowerLoader(self.encoder, tower, fingerprint, self._device, False)
        problems = Problems("mteb", strict=True)
        compute_missing(rows, store, LocalRunner(read, load), problems=problems, summary=Summary(f"mteb {self.name}"))
        return np.asarray(store.read(own), np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines (n, m), a torch tensor."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines (n,) of rows of the same number, a torch tensor."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)
