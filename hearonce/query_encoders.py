"""Embeddings of queries: towers loaded when first asked for, texts of several users in one batch, a bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache.errors import UserError
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
        self._opened: dict[str, OpenEncoder] = {}
        self._waiting: dict[str, deque[tuple[str, Future[Floats]]]] = {}
        self._busy: dict[str, threading.Lock] = {}
        self._remembered: OrderedDict[tuple[str, str], Floats] = OrderedDict()

    def text(self, encoder: str, text: str) -> Floats:
        """The embedding (dim,) of a text; texts that come while the tower is busy are encoded together.

        Raises:
            UserError: the encoder has no caption tower, or its files are missing.
        """
        with self._lock:
            known = self._remembered.get((encoder, text))
            if known is not None:
                self._remembered.move_to_end((encoder, text))
                return known
            future: Future[Floats] = Future()
            self._waiting.setdefault(encoder, deque()).append((text, future))
            busy = self._busy.setdefault(encoder, threading.Lock())
        with busy:  # whoever comes first encodes what has come until then, also for those behind
            while not future.done():
                self._encode_waiting(encoder)
        return future.result()

    def _encode_waiting(self, encoder: str) -> None:
        with self._lock:
            waiting = self._waiting[encoder]
            batch = [waiting.popleft() for _ in range(min(len(waiting), MOST_TOGETHER))]
        try:
            opened = self._open(encoder)
            texts = list(dict.fromkeys(text for text, _ in batch))
            rows = dict(zip(texts, self._one_row_each(encoder, opened.captions(texts, len(texts))), strict=True))
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        with self._lock:
            for text, row in rows.items():
                self._remembered[encoder, text] = row
            while len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        for text, future in batch:
            future.set_result(rows[text])

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

        with self._lock:
            if name not in self._opened:
                self._opened[name] = open_encoder(name, self._device)
            return self._opened[name]

    @staticmethod
    def _one_row_each(encoder: str, rows: Sequence[np.ndarray] | np.ndarray) -> list[Floats]:
        if isinstance(rows, list):
            raise UserError(f"Encoder {encoder!r} gives many rows for each item: it cannot be searched with.")
        return [np.asarray(row, np.float32) for row in rows]
