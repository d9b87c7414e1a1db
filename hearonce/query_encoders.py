"""Embeddings of queries: towers loaded when first asked for, texts of several users in one batch, a bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache.errors import UserError
from hearonce.together import Together
from pipeline.config.layout import modality_of
from pipeline.config.params import config_of
from pipeline.config.records import named
from stages.search.gallery import Floats

if TYPE_CHECKING:
    from stages.embed.encode_files import OpenEncoder

MOST_REMEMBERED = 1024
"""Query embeddings; of 1,024 numbers each they take 4 MiB."""

MOST_TOGETHER = 32
"""Texts in a batch."""


@dataclass(frozen=True)
class Takes:
    """What an encoder embeds as a query.

    Attributes:
        text: whether it has a caption tower.
        media: of what files it embeds as queries, of `audio` and `video`.
        dim: length of its embeddings.
    """

    text: bool
    media: tuple[str, ...]
    dim: int


def takes(name: str) -> Takes:
    """What an encoder embeds, by its configuration: no weights are loaded.

    Raises:
        UserError: there is no such encoder, or its YAML is wrong.
    """
    from stages.embed.encoder import AudioInput, AudioVideoInput, items_of
    from stages.embed.registry import load_encoder

    encoder = load_encoder(name)
    towers = [tower for tower in encoder.towers if items_of(tower) == "clips"]
    inputs = [given for tower in towers if not isinstance(given := encoder.input_of(tower), AudioVideoInput)]
    media = tuple("audio" if isinstance(given, AudioInput) else "video" for given in inputs)
    return Takes(len(towers) < len(encoder.towers), media, encoder.dim)


class QueryEncoders:
    """Encoders of one process, shared by all threads.

    Args:
        device: `cpu`, `cuda`, ...; a GPU where there is one by default.
    """

    def __init__(self, device: str | None = None) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[object, OpenEncoder]] = {}
        self._texts: dict[str, Together[str, Floats]] = {}
        self._busy: dict[str, threading.Lock] = {}
        self._remembered: OrderedDict[tuple[str, object, str], Floats] = OrderedDict()

    def text(self, encoder: str, text: str) -> Floats:
        """The embedding (dim,) of a text; texts that come while the tower is busy are encoded together.

        Raises:
            UserError: the encoder has no caption tower, or its files are missing.
        """
        key = (encoder, _version(encoder), text)
        with self._lock:
            known = self._remembered.get(key)
            if known is not None:
                self._remembered.move_to_end(key)
                return known
            if encoder not in self._texts:
                self._texts[encoder] = Together(partial(self._encode, encoder), MOST_TOGETHER)
            together = self._texts[encoder]
        row = together(text)
        with self._lock:
            self._remembered[key] = row
            while len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return row

    def _encode(self, encoder: str, texts: Sequence[str]) -> list[Floats]:
        different = list(dict.fromkeys(texts))
        rows = self._one_row_each(encoder, self._open(encoder).captions(different, len(different)))
        found = dict(zip(different, rows, strict=True))
        return [found[text] for text in texts]

    def media(self, encoder: str, file: str | Path, modality: str | None = None) -> Floats:
        """The embedding (dim,) of the audio or the frames of a file.

        Args:
            encoder: name; of one with several modalities also that of the gallery, `ENCODER@MODALITY`.
            file: its path.
            modality: of the file, for an encoder with several: `audio` or `video`; by default that of the gallery, as
                far as the file has it.

        Raises:
            UserError: the encoder has no clip tower, or the file cannot be read or lacks what it takes.
        """
        opened = self._open(encoder)
        with self._lock:
            busy = self._busy.setdefault(encoder, threading.Lock())
        with busy:
            if modality_of(encoder) is None:
                modality = None
            elif modality is None:
                modality = _modality_of_file(str(modality_of(encoder)), Path(file))
            return self._one_row_each(encoder, opened.clips([file], modality))[0]

    def _open(self, name: str) -> OpenEncoder:
        from stages.embed.encode_files import open_encoder

        version = _version(name)
        with self._lock:
            if name not in self._opened or self._opened[name][0] != version:
                self._opened[name] = version, open_encoder(name, self._device)
            return self._opened[name][1]

    @staticmethod
    def _one_row_each(encoder: str, rows: Sequence[np.ndarray] | np.ndarray) -> list[Floats]:
        if isinstance(rows, list):
            raise UserError(f"Encoder {encoder!r} gives many rows for each item: it cannot be searched with.")
        return [np.asarray(row, np.float32) for row in rows]


def _modality_of_file(wanted: str, file: Path) -> str:
    """What a file has of a modality; the modality where the file cannot be read, which the encoder then says."""
    from pipeline.media.containers import MediaError
    from pipeline.media.probe import probe

    try:
        info = probe(file)
    except (MediaError, UserError):
        return wanted
    if info.audio is None or info.video is None:
        return "video" if info.audio is None else "audio"
    return wanted


def _version(encoder: str) -> object:
    """What tells whether an encoder's YAML has changed, and with it perhaps the encoder."""
    status = named("encoders", config_of(encoder)).stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
