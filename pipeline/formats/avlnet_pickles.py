"""The pickles in which AVLnet's authors publish clips: lists of dicts of features, captions and times."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.formats.pickled_items import PickledItems, values_of

ORIGIN = "AVLnet_release_data.tar.gz or YouCook_Japanese.tar.gz of github.com/roudimit/AVLnet"
FEATURES: Mapping[str, tuple[str, ...]] = {
    "avlnet-spectrogram": ("audio",),
    "resnet152": ("2d_pooled", "2d"),
    "resnext101-3d": ("3d_pooled", "3d"),
}
"""Feature encoder -> the keys that may hold its features; of those that a clip has, the first is taken."""

N_MELS = 40
VIDEO_DIM = 2048


@dataclass(frozen=True, eq=False)
class PickledClip:
    """One clip of such a pickle.

    Attributes:
        id: its name there.
        captions: its texts in the order of the file; MSR-VTT has 20 in training, of which some are equal.
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
        spectrogram = encoder == "avlnet-spectrogram"
        rows = values.T if spectrogram else np.atleast_2d(values)
        dim = N_MELS if spectrogram else VIDEO_DIM
        if rows.ndim != 2 or rows.shape[1] != dim or values.dtype.kind != "f":
            wanted = f"({dim}, frames)" if spectrogram else f"({dim},) or (frames, {dim})"
            raise UserError(f"{self.where} has {encoder} of shape {values.shape} ({values.dtype}), expected {wanted}.")
        return rows

    def content(self) -> str:
        """A digest of the frames' features: the same clip in two files has the same."""
        digest = hashlib.blake2b(digest_size=16)
        for encoder in ("resnet152", "resnext101-3d"):
            features = self.features(encoder)
            digest.update(b"" if features is None else np.ascontiguousarray(features).tobytes())
        return digest.hexdigest()


class ClipPickles:
    """The clips of a corpus, read one by one from one or more files.

    A clip that is in several files (those of a split, and those of a selection) is one clip: the same name and the same
    frame features. A file may hold a clip twice, as the authors' loaders do; these are two.

    Args:
        files: subset -> file; a file may be larger than memory.
        layout: whose files these should be like, as `layout` of `OfficialFiles`; None takes all.
        fault: called for each item that is no clip, and why, which is then left out; None makes it an error.

    Raises:
        UserError: a file is damaged, of a corpus of the other layout, or holds anything else; also while iterating.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        layout: str | None = None,
        fault: Callable[[str, str], None] | None = None,
    ) -> None:
        self._layout, self._fault = layout, fault
        remedy = f"fetch it again from {ORIGIN}"
        self._items = {subset: PickledItems(path, remedy) for subset, path in files.items()}

    def __iter__(self) -> Iterator[tuple[str, PickledClip, bool]]:
        """Yields (subset, clip, whether it is met for the first time); of clips of one name, the second is `ID#2`."""
        known: dict[tuple[str, str, int], str] = {}
        of_name: Counter[str] = Counter()
        for subset, items in self._items.items():
            in_file: Counter[tuple[str, str]] = Counter()
            for number, item in enumerate(items):
                where = f"{items.path} item {number}"
                try:
                    clip = _clip(item, where)
                    same = clip.id, clip.content()
                except UserError as error:
                    if self._fault is None:
                        raise
                    self._fault(where, str(error))
                    continue
                _check_layout(item, where, self._layout)
                in_file[same] += 1
                key = *same, in_file[same]
                new = key not in known
                if new:
                    of_name[clip.id] += 1
                    known[key] = clip.id if of_name[clip.id] == 1 else f"{clip.id}#{of_name[clip.id]}"
                yield subset, replace(clip, id=known[key]), new


def published_files(config: CorpusConfig, annotations: Path) -> tuple[dict[str, Path], list[str]]:
    """The files of `files: subsets:` in a corpus config that are there, and a note for each that is not.

    Raises:
        UserError: none is there, or the config names none.
    """
    folder = annotations.parent if annotations.is_file() else annotations
    named = {subset: folder / name for subset, name in config.files.subsets.items()}
    found = {subset: path for subset, path in named.items() if path.exists()}
    if not named:
        raise UserError("The corpus config names no pickle: write `train: NAME.pkl` under `files: subsets:`.")
    if not found:
        raise UserError(
            f"{folder} has none of {', '.join(path.name for path in named.values())}: get {ORIGIN} "
            "(`hearonce checkpoints fetch AVLnet_release_data YouCook_Japanese --unpack`), or name the folder that has "
            "them in params.yaml."
        )
    lost = [
        f"subset {subset} is left out: {path} is missing (get {ORIGIN})"
        for subset, path in named.items()
        if subset not in found
    ]
    return found, lost


def _check_layout(item: Mapping[str, Any], where: str, wanted: str | None) -> None:
    """Goes by keys that the authors' loaders read; several captions alone are nobody's sign."""
    many = isinstance(item.get("caption"), list | tuple)
    found, sign = wanted, ""
    if wanted == "youcook2" and "eval_caption" in item:
        found, sign = "MSR-VTT", "an `eval_caption`"
    elif wanted == "youcook2" and many and "2d_pooled" in item:
        found, sign = "MSR-VTT", "a list of captions beside `2d_pooled`"
    elif wanted == "msrvtt" and not many and "2d" in item and "2d_pooled" not in item:
        found, sign = "YouCook2 or a corpus like it", "`2d` without `2d_pooled`"
    if found != wanted:
        raise UserError(
            f"{where} is of {found} (it has {sign}), not of this corpus: put the corpus's own file there, of {ORIGIN}."
        )


def _clip(item: Any, where: str) -> PickledClip:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str | int):
        raise UserError(f"{where} is no dict with an `id`: take the file as published ({ORIGIN}).")
    captions = item.get("caption")
    absent = captions is None or captions != captions  # NaN, as tables have it
    texts = captions if isinstance(captions, list | tuple) else [] if absent else [captions]
    id = _text(item["id"], "id", where)
    try:
        start, stop = (float(item.get(key, 0.0)) for key in ("start", "end"))
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where} has no numbers as `start` and `end`: take the file as published.") from None
    return PickledClip(
        id,
        tuple(text for text in (_text(one, "caption", where) for one in texts) if text.strip()),
        _text(item["eval_caption"], "eval_caption", where) if item.get("eval_caption") is not None else None,
        _text(item.get("video_id", id), "video_id", where),
        start,
        stop,
        where,
        item,
    )


def _text(value: Any, key: str, where: str) -> str:
    """A text or number as text; lists within lists, that a few bytes may nest a thousandfold, are none."""
    if (isinstance(value, int) and value.bit_length() > 64) or not isinstance(value, str | int | float):
        raise UserError(f"{where} has neither text nor a number as {key!r}: take the file as published ({ORIGIN}).")
    return str(value)
