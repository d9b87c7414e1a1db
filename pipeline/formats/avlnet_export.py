"""Cached features in the layouts of AVLnet's authors: pickles of YouCook2 and MSR-VTT, feature files of HowTo100M."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import tables as schemas
from cache.artifact import Artifact, open_artifact
from cache.durable import new_directory, new_file
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.subsets import read_extended, read_subset
from pipeline.formats.avlnet_pickles import FEATURES

Layout = Literal["youcook2", "msrvtt", "howto100m"]
LAYOUTS: tuple[Layout, ...] = ("youcook2", "msrvtt", "howto100m")
PATH_LIST = "videopaths.txt"
EVAL = "eval"
PROTOCOL = b"\x80\x03"
"""Protocol 3 numbers its memo within an item, so that items can be written one after the other."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        clips: how many.
        left_out: clips that lack a feature, which the authors' loaders cannot do without.
    """

    clips: int
    left_out: int


class CorpusFeatures:
    """The features of a corpus, clip by clip.

    Args:
        corpus: whose.
        encoders: of spectrograms, 2D and 3D features; their names in `data/embeddings/`.
        subset: these clips alone, None for all.

    Raises:
        UserError: an artifact is missing or holds no features over time, or no clip has all three.
    """

    def __init__(self, corpus: str, encoders: Sequence[str] = tuple(FEATURES), subset: str | None = None) -> None:
        self.corpus = corpus
        self._artifacts = [_features(corpus, one) for one in encoders]
        self._row_of = [{id: row for row, id in enumerate(one.ids)} for one in self._artifacts]
        self._clips = schemas.read_table(layout.table(corpus, "clips"), schemas.CLIPS)
        if subset is not None:
            self._clips = self._clips.filter(pl.col("clip_id").is_in(list(read_subset(corpus, subset))))
        ids = self._clips["clip_id"].to_list()
        self.ids = [one for one in ids if all(one in rows for rows in self._row_of)]
        self.left_out = len(ids) - len(self.ids)
        if not self.ids:
            raise UserError(f"No clip of {corpus!r} has features of all of {', '.join(encoders)}: run `dvc repro`.")

    def of(self, clip: str) -> list[NDArray[Any]]:
        """Spectrogram (frames, 40), 2D and 3D features (n, 2048), as they are stored."""
        return [one.row(rows[clip]) for one, rows in zip(self._artifacts, self._row_of, strict=True)]

    def places(self) -> dict[str, tuple[str, float, float]]:
        """Clip -> its medium, start and stop in seconds."""
        columns = self._clips.select("clip_id", "media_id", "start_s", "stop_s")
        return {clip: (medium, start, stop) for clip, medium, start, stop in columns.iter_rows()}


def write_pickle(features: CorpusFeatures, path: Path, kind: Layout, captions: str = "given") -> Exported:
    """Writes a pickle, clip by clip, with the memory of one.

    An item has `id`, `audio` (tensor (40, frames) float32) and, of `youcook2`, `2d` and `3d` (float32 (2048,), the
    maximum over time), `caption` (the first), `video_id`, `start`, `end`; of `msrvtt`, `2d_pooled` and `3d_pooled`,
    `2d` and `3d` over time, `caption` (all) and `eval_caption` (of source `eval`; the first where there is none).

    Args:
        features: of the corpus.
        path: the file; must not exist.
        kind: `youcook2` or `msrvtt`.
        captions: caption source.
    """
    import torch

    texts, scored, places = _texts(features.corpus, captions), _texts(features.corpus, EVAL), features.places()
    if not texts:
        raise UserError(f"Corpus {features.corpus!r} has no caption of source {captions!r}: name one by --captions.")
    with new_file(path) as temporary, temporary.open("wb") as file:
        file.write(PROTOCOL + pickle.EMPTY_LIST)
        for clip in features.ids:
            spectrogram, flat, moving = (one.astype(np.float32) for one in features.of(clip))
            given = texts.get(clip, [])
            item: dict[str, Any] = {"id": clip, "audio": torch.from_numpy(np.ascontiguousarray(spectrogram.T))}
            if kind == "youcook2":
                video, start, stop = places[clip]
                pooled = {"2d": flat.max(axis=0), "3d": moving.max(axis=0)}
                item |= {**pooled, "caption": given[0] if given else "", "video_id": video, "start": start, "end": stop}
            else:
                pooled = {"2d_pooled": flat.max(axis=0), "3d_pooled": moving.max(axis=0)}
                item |= {**pooled, "2d": flat, "3d": moving, "caption": given or [""]}
                if first := (scored if scored else texts).get(clip):
                    item["eval_caption"] = first[0]
            file.write(_body(item) + pickle.APPEND)
        file.write(pickle.STOP)
    return Exported(len(features.ids), features.left_out)


def write_files(features: CorpusFeatures, folder: Path) -> Exported:
    """Writes `ID/ID_2d.npz`, `_3d.npz` (array `features`) and `_spec.npz` (`arr_0`, (40, frames)) and a list of paths.

    A clip is a video of its own; spectrograms are float16, which the authors' loader asks for.

    Args:
        features: of the corpus.
        folder: where to; must not exist.
    """
    with new_directory(folder) as temporary:
        for path, clip in _paths(features.ids).items():
            spectrogram, flat, moving = features.of(clip)
            place = temporary / path
            place.mkdir(parents=True, exist_ok=True)
            np.savez(place / f"{place.name}_2d.npz", features=flat)
            np.savez(place / f"{place.name}_3d.npz", features=moving)
            np.savez(place / f"{place.name}_spec.npz", np.ascontiguousarray(spectrogram.T, np.float16))
        with (temporary / PATH_LIST).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([["path"], *([path] for path in _paths(features.ids))])
    return Exported(len(features.ids), features.left_out)


def _paths(ids: Sequence[str]) -> dict[str, str]:
    """Relative path -> clip; a clip's id is its path unless that leads elsewhere."""
    return {"/".join(part for part in one.split("/") if part not in ("", ".", "..")): one for one in ids}


def _body(item: Mapping[str, Any]) -> bytes:
    """The instructions of a pickle that make an item, without beginning and end."""
    return pickle.dumps(dict(item), protocol=3)[len(PROTOCOL) : -len(pickle.STOP)]


def _texts(corpus: str, source: str) -> dict[str, list[str]]:
    """Clip -> its captions of a source, in the order of the table."""
    captions = read_extended(corpus, "captions").filter(pl.col("source") == source)
    text_of = dict(captions.select("caption_id", "text").iter_rows())
    found: dict[str, list[str]] = {}
    for clip, caption in read_extended(corpus, "pairs").select("clip_id", "caption_id").iter_rows():
        if caption in text_of:
            found.setdefault(clip, []).append(text_of[caption])
    return found


def _features(corpus: str, encoder: str) -> Artifact:
    path = layout.embeddings(corpus, encoder, "clips")
    artifact = open_artifact(path)
    if not artifact.format.ragged:
        raise UserError(f"{path} holds embeddings, not features over time: name a feature encoder.")
    return artifact
