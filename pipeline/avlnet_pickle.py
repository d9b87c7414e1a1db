"""The pickles in which AVLnet's authors publish clips: a list of dicts of features, captions and places, one per clip."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.item_pickle import PickledItems, values_of

ORIGIN = "AVLnet_release_data.tar.gz or YouCook_Japanese.tar.gz of github.com/roudimit/AVLnet"
FEATURES: Mapping[str, tuple[str, ...]] = {
    "avlnet-spectrogram": ("audio",),
    "resnet152": ("2d_pooled", "2d"),
    "resnext101-3d": ("3d_pooled", "3d"),
}
"""Feature encoder -> the keys that may hold its features; of those that a clip has, the first is taken."""

N_MELS = 40
PICTURE_DIM = 2048


@dataclass(frozen=True, eq=False)
class PickledClip:
    """One clip of such a pickle.

    Attributes:
        id: its name there; of clips of one name, the second is `ID#2`, and so on.
        captions: its texts; MSR-VTT has 20 in training.
        eval_caption: the one text that MSR-VTT is scored on, or None.
        video: the video it was cut from, or its own name.
        start_s: where it begins in the video; 0 if that is not said.
        stop_s: where it ends; 0 if that is not said.
        where: file and number, for messages.
    """

    id: str
    captions: tuple[str, ...]
    eval_caption: str | None
    video: str
    start_s: float
    stop_s: float
    where: str
    _item: Mapping[str, Any]

    def features(self, encoder: str) -> NDArray[Any] | None:
        """Features of one of `FEATURES` as they are cached, (frames, 40 or 2048), in the type of the file; None if it
        has none.

        Raises:
            UserError: they are damaged, or of another shape.
        """
        found = next((self._item[key] for key in FEATURES[encoder] if self._item.get(key) is not None), None)
        if found is None:
            return None
        try:
            values = values_of(found)
        except pickle.UnpicklingError as error:
            raise UserError(f"{self.where} cannot be read ({error}): fetch the file again from {ORIGIN}.") from None
        sound = encoder == "avlnet-spectrogram"
        rows = values.T if sound else np.atleast_2d(values)
        dim = N_MELS if sound else PICTURE_DIM
        if rows.ndim != 2 or rows.shape[1] != dim or values.dtype.kind != "f":
            wanted = f"({dim}, frames)" if sound else f"({dim},) or (frames, {dim})"
            raise UserError(f"{self.where} has {encoder} of shape {values.shape} ({values.dtype}), expected {wanted}.")
        return rows

    def content(self) -> str:
        """A digest of the pictures' features: the same clip in two files has the same."""
        digest = hashlib.blake2b(digest_size=16)
        for encoder in ("resnet152", "resnext101-3d"):
            features = self.features(encoder)
            digest.update(b"" if features is None else np.ascontiguousarray(features).tobytes())
        return digest.hexdigest()


class ClipPickle:
    """The clips of one file, read one by one.

    Args:
        path: the file; it may be larger than memory.

    Raises:
        UserError: it is missing, damaged, or holds anything else; also while iterating.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._items = PickledItems(path, f"fetch it again from {ORIGIN}")

    def __iter__(self) -> Iterator[PickledClip]:
        seen: dict[str, int] = {}
        for number, item in enumerate(self._items):
            clip = _clip(item, f"{self.path} item {number}")
            seen[clip.id] = count = seen.get(clip.id, 0) + 1
            yield clip if count == 1 else PickledClip(**{**vars(clip), "id": f"{clip.id}#{count}"})


def _clip(item: Any, where: str) -> PickledClip:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str | int):
        raise UserError(f"{where} is no dict with an `id`: take the file as published ({ORIGIN}).")
    captions = item.get("caption", ())
    texts = [captions] if isinstance(captions, str) else captions if isinstance(captions, list | tuple) else []
    id = str(item["id"])
    try:
        start, stop = (float(item.get(key, 0.0)) for key in ("start", "end"))
    except (TypeError, ValueError):
        raise UserError(f"{where} has no numbers as `start` and `end`: take the file as published.") from None
    return PickledClip(
        id,
        tuple(dict.fromkeys(str(text) for text in texts if str(text).strip())),
        str(item["eval_caption"]) if item.get("eval_caption") is not None else None,
        str(item.get("video_id", id)),
        start,
        stop,
        where,
        item,
    )
