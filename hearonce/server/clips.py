"""Clips of served corpora as the server shows them: what a result says, and where its media are."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cache import tables as schemas
from cache.errors import UserError
from cache.location import Store
from hearonce.ranking import Corpus, Ranking, Rows
from hearonce.searcher import Searcher
from hearonce.server.previews import Media, Span, source_of
from hearonce.server.worker import Workers
from pipeline.config import layout
from pipeline.config.subsets import FOLDER
from pipeline.media.containers import MediaError
from pipeline.media.location import MediaPlace, Source, open_place
from pipeline.media.members import Packed

MOST_MOMENTS = 200
"""Of one result, the best ones."""

MOST_PREVIEW_BYTES = 2 << 30
SUFFIXES = {"frame": ".jpg", "waveform": ".png", "spectrogram": ".png", "preview": ".webm"}
VERSION = 1
"""Of what `previews` makes; part of the names of kept files."""

_SHOWN = ("clip_id", "file", "start_s", "stop_s", "captions", "has_audio", "has_video")
_SPAN = ("media_path", "media_digest", "start_s", "stop_s", "start_frame", "stop_frame")


class Clips:
    """Results and media of clips.

    Args:
        searcher: that the server asks.
        workers: that make images and previews.
    """

    def __init__(self, searcher: Searcher, workers: Workers) -> None:
        self._searcher, self._workers = searcher, workers
        self._making = [threading.Lock() for _ in range(64)]  # one serves several files, and none is left over

    def page(self, ranking: Ranking, offset: int, limit: int, group: bool) -> tuple[list[dict[str, Any]], int]:
        """Some results of a ranking, and how many there are in all.

        Args:
            ranking: of all clips.
            offset: results before the first one.
            limit: most results.
            group: whether neighbouring clips of one file are one result, see `stages/search/moments.py`.
        """
        listed = ranking.moments if group else ranking
        rows = listed.first(offset + limit)[offset:]
        windows = _windows(ranking, rows) if group else [[]] * len(rows)
        results = [
            {
                "rank": rank,
                "score": _number(ranking.scores[row]),
                "score_embedding": _number(ranking.similarities[row]),
                "score_words": None if ranking.words is None else _number(ranking.words[row]),
                **clip,
                "moments": together,
            }
            for rank, (row, clip, together) in enumerate(
                zip(rows, self._shown(ranking.corpus, rows), windows, strict=True), offset + 1
            )
        ]
        return results, listed.total

    def shown(self, corpus: Corpus, row: int) -> dict[str, Any]:
        """What is shown of a clip, beside its score, and how long its file is."""
        return {**self._shown(corpus, np.array([row]))[0], "duration_s": corpus.table["media_duration_s"][row]}

    def _shown(self, corpus: Corpus, rows: Rows) -> list[dict[str, Any]]:
        """What is shown of clips; all of a page together, since every look at the table has its price."""
        clips = corpus.table[rows].select(_SHOWN).to_dicts()
        place = self._place(corpus.name)
        of_subset = {name: mask[rows] for name, mask in self.subsets(corpus).items()}
        for number, clip in enumerate(clips):
            clip |= {
                "subsets": [name for name, mask in of_subset.items() if mask[number]],
                "has_audio": bool(clip["has_audio"]),
                "has_video": bool(clip["has_video"]),
                "missing": _missing(place, clip["file"]),
            }
        return clips

    def subsets(self, corpus: Corpus) -> dict[str, np.ndarray]:
        """The subsets of a corpus by name, each as a mask of its clips; those that cannot be read are left out."""
        found = {}
        for path in sorted((FOLDER / corpus.name).glob("*.yaml")):
            if path.stem != "all":
                with suppress(UserError):
                    found[path.stem] = self._searcher.members(corpus, path.stem)
        return found

    def media(self, corpus: str, clip: str) -> Media:
        """The audio and frames of a clip.

        Raises:
            UserError: there is no such clip.
        """
        known = self._searcher.corpus(corpus)
        known.row(clip)
        path = layout.table(corpus, "spans")
        spans = schemas.read_table(path, schemas.SPANS, pl.col("clip_id") == clip)

        ids = spans["media_id"].unique().to_list()
        tracks = schemas.read_table(layout.table(corpus, "media"), schemas.MEDIA, pl.col("media_id").is_in(ids))

        def of(modality: str, track: str) -> tuple[Span, ...]:
            having = tracks.filter(pl.col(track))["media_id"].to_list()  # every clip has spans of both modalities
            own = spans.filter((pl.col("modality") == modality) & pl.col("media_id").is_in(having))
            return tuple(Span(*row) for row in own.filter(pl.col("media_path") != "").select(_SPAN).iter_rows())

        return Media(corpus, of("sound", "has_audio"), of("picture", "has_video"))

    def original(self, corpus: str, clip: str) -> Path:
        """The file of a clip on this machine, for the browser to play.

        Raises:
            UserError: it is not on this machine, or no single file plays the clip.
        """
        media = self.media(corpus, clip)
        files = {span.media_path for span in (*media.audio, *media.video)}
        if len(files) != 1:
            raise UserError("The clip is made of several files: play its preview.")
        try:
            source = self._source(corpus, files.pop())
        except MediaError as error:
            raise UserError(f"The file cannot be had: {error}.") from None
        if isinstance(source, Packed):
            raise UserError("The file is packed into a shard: play its preview.")
        if not isinstance(source, Path) or source.is_dir():
            raise UserError("The file is no file of this machine: play its preview.")
        if not source.is_file():
            raise UserError("File not found: it has been moved away since `ingest`.")
        return source

    def made(self, what: str, media: Media) -> Path:
        """A kept image or preview of a clip, made if need be; two requests for one make it once.

        Raises:
            UserError: it cannot be made.
        """
        document = json.dumps([VERSION, what, media.json()], sort_keys=True)
        name = hashlib.blake2b(document.encode(), digest_size=16).hexdigest() + SUFFIXES[what]
        folder = Store.default().previews
        path = folder / name
        with self._making[int(name[:8], 16) % len(self._making)]:
            try:
                os.utime(path)
                return path
            except OSError:
                folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{name}.{os.getpid()}.part"
            try:
                self._workers.run({"what": what, "media": media.json(), "out": str(part)})
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
            _prune(folder)
        return path

    def _source(self, corpus: str, path: str) -> Source:
        return source_of(self._place(corpus), path)

    def _place(self, corpus: str) -> MediaPlace:
        media = self._searcher.params.corpora[corpus].media
        return self._searcher.current(("media", corpus), [media], lambda: open_place(media))


def _missing(place: MediaPlace, file: str) -> bool:
    try:
        source = source_of(place, file)
    except MediaError:
        return True
    return source.is_missing() if isinstance(source, Packed) else isinstance(source, Path) and not source.exists()


def _windows(ranking: Ranking, rows: Rows) -> list[list[dict[str, Any]]]:
    """The clips of each result in the order of their times; none of a result that is one clip."""
    of_results = [ranking.moments.rows(row) for row in rows.tolist()]
    best = [own[np.argsort(-ranking.scores[own], kind="stable")[:MOST_MOMENTS]] for own in of_results if len(own) > 1]
    if not best:
        return [[] for _ in of_results]
    together = np.concatenate(best)
    windows = ranking.corpus.table[together].select("clip_id", "start_s", "stop_s").to_dicts()
    for window, score in zip(windows, ranking.scores[together], strict=True):
        window["score"] = _number(score)
    lists, start = [], 0
    for own in of_results:
        stop = start + (min(len(own), MOST_MOMENTS) if len(own) > 1 else 0)
        lists.append(sorted(windows[start:stop], key=lambda one: (one["start_s"], one["stop_s"], one["clip_id"])))
        start = stop
    return lists


def _prune(folder: Path) -> None:
    files = []
    for path in folder.iterdir():
        with suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    over = sum(size for _, size, _ in files) - MOST_PREVIEW_BYTES
    for _, size, path in sorted(files):
        if over <= 0:
            return
        path.unlink(missing_ok=True)
        over -= size


def _number(value: np.floating[Any]) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
