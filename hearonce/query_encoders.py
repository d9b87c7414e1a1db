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
        media: what its clip tower is given, `audio` or `video`; None without one.
        dim: length of its embeddings.
    """

    text: bool
    media: str | None
    dim: int


def takes(name: str) -> Takes:
    """What an encoder embeds, by its configuration: no weights are loaded.

    Raises:
        UserError: there is no such encoder, or its YAML is wrong.
    """
    from stages.embed.encoder import AudioInput
    from stages.embed.registry import load_encoder

    encoder = load_encoder(name)
    media = None
    if "clips" in encoder.towers:
        media = "audio" if isinstance(encoder.clip_input, AudioInput) else "video"
    return Takes("captions" in encoder.towers, media, encoder.dim)


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

    def media(self, encoder: str, file: str | Path) -> Floats:
        """The embedding (dim,) of the audio or the frames of a file.

        Raises:
            UserError: the encoder has no clip tower, or the file cannot be read or lacks what it takes.
        """
        opened = self._open(encoder)
        with self._lock:
            busy = self._busy.setdefault(encoder, threading.Lock())
        with busy:
            return self._one_row_each(encoder, opened.clips([file]))[0]

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


def _version(encoder: str) -> object:
    """What tells whether an encoder's YAML has changed, and with it perhaps the encoder."""
    status = named("encoders", config_of(encoder)).stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
