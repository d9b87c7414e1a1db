"""One caption source of a retrieval corpus: its unique sentences, which of them each clip has, and their relevancy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config.corpus import OfficialFiles
from stages.ingest.annotations import Caption
from stages.ingest.retrieval_files import (
    ID,
    NARRATION,
    ClipRows,
    FileNames,
    built_relevancy,
    read_clips,
    read_relevancy,
    read_sentences,
)

VISUAL, GPT = "visual", "gpt"
MOST_CELLS = 2**28
CLASSES = {"caption": ("verb_class", "all_noun_classes"), "verb": ("verb_class",), "noun": ("all_noun_classes",)}


@dataclass(frozen=True)
class CaptionSource:
    """Attributes:
    captions: the unique sentences in the order of the relevancy columns; then texts of clips that no sentence has.
    n_sentences: how many of them are sentences.
    own: per clip, the position of its own text in `captions`.
    relevancy: (clips, sentences), or None.
    remarks: what the user should know.
    """

    captions: list[Caption]
    n_sentences: int
    own: list[int]
    relevancy: NDArray[np.float64] | None
    remarks: list[str]

    def by_text(self) -> dict[str, list[int]]:
        """Positions of the captions of each text."""
        return _positions(caption.text for caption in self.captions)

    def relevancy_frame(self, clip_ids: list[str]) -> pl.DataFrame:
        """The non-zero relevancies as a frame of the schema `RELEVANCY`.

        A sentence to which no clip is relevant has a 0 for each clip of its text, so that it is searched and found all
        the same, as the original code does.
        """
        if self.relevancy is None:
            return schemas.table([], schemas.RELEVANCY)
        listed = self.relevancy != 0
        first = {text: positions[0] for text, positions in self.by_text().items()}
        text_of = np.array([first[caption.text] for caption in self.captions])
        own = text_of[np.array(self.own, np.int64)]
        for column in np.flatnonzero(~listed.any(axis=0)):
            listed[:, column] = own == text_of[column]
        rows, columns = np.nonzero(listed)
        captions = pl.Series([caption.caption_id for caption in self.captions], dtype=pl.String)
        return pl.DataFrame(
            {
                "clip_id": pl.Series(clip_ids, dtype=pl.String).gather(rows),
                "caption_id": captions.gather(columns),
                "relevancy": self.relevancy[rows, columns],
            },
            schema=dict(schemas.RELEVANCY),
        )


def unique_ids(ids: Iterable[str]) -> list[str]:
    """The same ids, those that have occurred before with `#2`, `#3`, ... added."""
    seen: Counter[str] = Counter()
    result = []
    for id in ids:
        seen[id] += 1
        result.append(id if seen[id] == 1 else f"{id}#{seen[id]}")
    return result


def read_caption_source(
    source: str, folder: Path, names: FileNames, clips: ClipRows, options: OfficialFiles
) -> CaptionSource:
    """Reads `visual` labels or `gpt` descriptions.

    A sentence's text is that of the clip whose id the sentence file gives, for the original code embeds no other; each
    clip's own text is the caption of that text, the most relevant one where several have it.

    Args:
        source: `visual` or `gpt`.
        folder: of the annotation files.
        names: of the visual files.
        clips: rows of the visual clip file.
        options: which relevancy.

    Raises:
        UserError: a file is missing or damaged, or the files do not belong together.
    """
    files = names.gpt() if source == GPT else names
    rows = read_clips(folder, files.clips, names.origin) if source == GPT else clips
    ids = clips.column(ID)
    for number, (id, other) in enumerate(zip(ids, rows.column(ID), strict=False), 2):
        if id != other:
            raise UserError(
                f"{rows.path} row {number} is clip {other}, {clips.path} has {id} there: the order must agree."
            )
    if len(ids) != len(rows.rows):
        raise UserError(f"{rows.path} has {len(rows.rows)} clips, {clips.path} {len(ids)}: take both from one release.")
    texts = rows.column(NARRATION)
    sentences = read_sentences(folder, files.sentences, names.origin)
    first = {id: row for row, id in reversed(list(enumerate(ids)))}
    stranger = next((id for id, _ in sentences if id not in first), None)
    if stranger is not None:
        raise UserError(
            f"{folder / files.sentences} has a sentence of {stranger}, which {rows.path} lacks: take both from one "
            "release."
        )
    described = [first[id] for id, _ in sentences]
    captions = [
        Caption(id, texts[row], source)
        for id, row in zip(unique_ids(f"{source}:{id}" for id, _ in sentences), described, strict=True)
    ]
    relevancy = _relevancy(folder, files, names, clips, described, options)
    positions = _positions(caption.text for caption in captions)
    own = []
    for row, (id, text) in enumerate(zip(unique_ids(ids), texts, strict=True)):
        if text not in positions:
            positions[text] = [len(captions)]
            captions.append(Caption(f"{source}:{id}", text, source))
        candidates = positions[text]
        if len(candidates) > 1 and relevancy is not None:
            own.append(max(candidates, key=lambda column: relevancy[row, column]))
        else:
            own.append(candidates[0])
    shifted = sum(texts[row] != text for row, (_, text) in zip(described, sentences, strict=True))
    remarks = [f"{shifted} sentences of {files.sentences} are not the text of the clip they name, whose text is used"]
    return CaptionSource(captions, len(sentences), own, relevancy, remarks if shifted else [])


def _relevancy(
    folder: Path, files: FileNames, names: FileNames, clips: ClipRows, described: list[int], options: OfficialFiles
) -> NDArray[np.float64] | None:
    if options.relevancy == "none" or names.relevancy is None:
        return None
    shape = (len(clips.rows), len(described))
    if shape[0] * shape[1] > MOST_CELLS:
        raise UserError(
            f"{clips.path}: the relevancy of {shape[0]} clips and {shape[1]} sentences takes "
            f"{shape[0] * shape[1] / 2**27:.0f} GB: set `relevancy: none` in the corpus config."
        )
    if options.relevancy == "built":
        classes = [clips.classes(name) for name in CLASSES[options.relevancy_type]]
        return built_relevancy(classes, [[of_clips[row] for row in described] for of_clips in classes])
    path = folder / (files.relevancy or "")
    if not path.is_file():
        path = folder / names.relevancy
    if not path.is_file():
        raise UserError(
            f"{path} is missing: get it from {names.origin}, or set `relevancy: built` in the corpus config."
        )
    return read_relevancy(path, shape)


def _positions(texts: Iterable[str]) -> dict[str, list[int]]:
    positions: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        positions.setdefault(text, []).append(position)
    return positions
