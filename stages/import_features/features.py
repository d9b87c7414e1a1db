"""Features of the clips of a pickle as artifacts, with as much memory as a block of one clip needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.artifact import artifact_writer
from cache.errors import UserError
from cache.keys import feature_key, fingerprint
from cache.rows import RowFormat, Rows
from pipeline.formats.avlnet_pickles import FEATURES, N_MELS, VIDEO_DIM, ClipPickles, PickledClip

HALVES = ("resnet152", "resnext101-3d")
"""What the extractors save in half precision; stored so as long as that loses nothing."""

BLOCK_BYTES = 32 << 20


@dataclass
class Survey:
    """What a first reading tells of the features of one kind.

    Attributes:
        ids: clips that have usable ones.
        frames: of all of them together.
        exact: whether all numbers are whole in half precision.
    """

    ids: list[str] = field(default_factory=list)
    frames: int = 0
    exact: bool = True

    def row_format(self, encoder: str) -> RowFormat:
        """How they are stored."""
        if encoder in HALVES:
            return RowFormat(VIDEO_DIM, "float16" if self.exact else "float32", ragged=True)
        return RowFormat(N_MELS, "float32", ragged=True)


def survey_features(clips: ClipPickles, fault: Callable[[PickledClip, str], None]) -> dict[str, Survey]:
    """Reads all features once.

    Args:
        clips: of the corpus.
        fault: takes a clip and why its features cannot be used; they are left out.

    Raises:
        UserError: no features of a kind have the shape that they should have.
    """
    surveys = {encoder: Survey() for encoder in FEATURES}
    wrong: dict[str, UserError] = {}
    for clip in _once(clips):
        for encoder, survey in surveys.items():
            try:
                values = clip.features(encoder)
            except UserError as error:
                wrong.setdefault(encoder, error)
                fault(clip, str(error))
                continue
            if values is None:
                fault(clip, f"has no {encoder}")
            elif not len(values) or not np.isfinite(values).all():
                fault(clip, f"has {encoder} that {'are not finite' if len(values) else 'are empty'}")
            else:
                survey.ids.append(clip.id)
                survey.frames += len(values)
                survey.exact = survey.exact and encoder in HALVES and _whole_in_half(values)
    for encoder, first in wrong.items():
        if not surveys[encoder].ids:  # it is the file, not a clip
            raise first
    return surveys


def write(clips: ClipPickles, surveys: Mapping[str, Survey], path_of: Callable[[str], Path]) -> None:
    """Reads all features again and writes the artifact of each kind, whole or not at all.

    Args:
        clips: of the corpus.
        surveys: by `survey_features`.
        path_of: encoder -> where its artifact goes.
    """
    with ExitStack() as stack:
        blocks = {}
        for encoder, survey in surveys.items():
            description = {"modality": "clips", "encoder": encoder, "fingerprint": _fingerprint(encoder)}
            append = stack.enter_context(
                artifact_writer(path_of(encoder), survey.row_format(encoder), survey.ids, survey.frames, description)
            )
            blocks[encoder] = _Block(survey.row_format(encoder), append, iter(survey.ids))
        for clip in _once(clips):
            for encoder, block in blocks.items():
                if clip.id == block.wanted:
                    values = clip.features(encoder)
                    assert values is not None
                    block.add(values)
        for block in blocks.values():
            block.flush()


def _once(clips: ClipPickles) -> Iterator[PickledClip]:
    return (clip for _, clip, new in clips if new)


def _fingerprint(encoder: str) -> str:
    return fingerprint({"features": encoder, "origin": "published", "version": 1})


def _whole_in_half(values: NDArray[np.floating]) -> bool:
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float16) == values).all())


class _Block:
    """Rows of one artifact that are written together."""

    def __init__(self, row_format: RowFormat, append: Callable[[Rows], None], ids: Iterator[str]) -> None:
        self._format, self._append, self._ids = row_format, append, ids
        self._parts: list[Rows] = []
        self.wanted = next(ids, None)

    def add(self, values: NDArray[np.floating]) -> None:
        stored = np.asarray(values, self._format.storage)
        self._parts.append(Rows.of(self._format, [feature_key(stored)], [stored]))
        self.wanted = next(self._ids, None)
        if sum(part.nbytes for part in self._parts) >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._parts:
            self._append(Rows.join(self._format, self._parts))
            self._parts = []
