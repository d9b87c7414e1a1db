"""Searching corpora again and again in one process: galleries and towers stay open, what is replaced is reopened.

The command, `hearonce.search` and the server all ask the same object.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.artifact import open_artifact
from cache.errors import UserError
from cache.tables import CLIPS, MEDIA, read_table
from hearonce.query_encoders import QueryEncoders, Takes, takes
from pipeline.config import layout
from pipeline.config.params import FEATURES, Params, load_params
from pipeline.config.subsets import FOLDER, LABELS, clips_where, read_extended, read_subset
from pipeline.console.text import did_you_mean
from stages.search.gallery import Floats, Gallery, best
from stages.search.words import WordIndex, mixed

Kind = Literal["text", "clip", "audio", "video", "file"]

PREFERRED = (("text_to_clip", "mAP"), ("text_to_clip", "R@1"))
"""Direction and metric by which the default encoder is chosen, among experiments on one encoder."""

KEPT_RANKINGS = 16
"""Of the last queries, so that further pages of a result are cheap; of 10^6 clips each takes 4 MB."""

SORTED_AT_FIRST = 2048
REPLACED_TRIES = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """What is searched for, and among which clips.

    Attributes:
        corpus: name in params.yaml.
        kind: `text`; `clip`: clips like one of the corpus; `audio`, `video`: like the track of a file; `file`: like the
            track of a file that the encoder takes.
        value: the words, the clip's id, or the path of the file.
        encoders: one or more whose similarities are averaged; none for the default.
        weights: of each encoder; equal by default.
        words: share in [0, 1] that full text of the captions has in the score, see `stages/search/words.py`.
        subset: name of `configs/subsets/CORPUS/`: only its clips.
        where: a condition in SQL as in a subset's YAML, likewise.
    """

    corpus: str
    kind: Kind
    value: str
    encoders: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None
    words: float = 0.0
    subset: str | None = None
    where: str | None = None


@dataclass(eq=False)
class Corpus:
    """The clips of a corpus with what is shown of them.

    Attributes:
        name: in params.yaml.
        table: a row per clip: `clip_id`, `media_id`, `file`, `media_digest`, `start_s`, `stop_s`, `has_audio`,
            `has_video`, `captions`.
    """

    name: str
    table: pl.DataFrame
    _cached: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each clip in the table."""
        return {clip: row for row, clip in enumerate(self.table["clip_id"])}

    def row(self, clip: str) -> int:
        """Row of a clip.

        Raises:
            UserError: there is none of that id.
        """
        if clip not in self.rows:
            raise UserError(f"Corpus {self.name!r} has no clip {clip!r}: {did_you_mean(clip, self.rows)}")
        return self.rows[clip]

    def rows_of(self, clips: Sequence[str]) -> NDArray[np.int64]:
        """Rows of clips by id, -1 for those that the tables do not have."""
        return np.fromiter((self.rows.get(clip, -1) for clip in clips), np.int64, len(clips))

    def mask(self, clips: set[str]) -> NDArray[np.bool_]:
        """True for the rows of some clips."""
        mask: NDArray[np.bool_] = self.table["clip_id"].is_in(list(clips)).to_numpy()
        return mask


class Ranking:
    """All clips of a corpus by their score for a query; sorted only as far as pages ask for.

    Attributes:
        corpus: whose clips.
        encoders: that were asked.
        scores: float32 (clips,), -inf for clips that are left out.
        similarities: float32 (clips,), the embeddings' part of the scores.
        words: float32 (clips,), the words' part, or None.
        total: clips that are ranked.
    """

    def __init__(
        self,
        corpus: Corpus,
        encoders: Sequence[str],
        similarities: Floats,
        words: Floats | None,
        scores: Floats,
    ) -> None:
        self.corpus, self.encoders = corpus, tuple(encoders)
        self.similarities, self.words, self.scores = similarities, words, scores
        self.total = int(np.isfinite(scores).sum())
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def first(self, n: int) -> NDArray[np.int64]:
        """The rows of the n best clips, best first; of equal ones the earlier row."""
        n = min(n, self.total)
        if n > len(self._order):
            wanted = min(self.total, max(SORTED_AT_FIRST, 2 * n))
            sims, rows = best(self.scores[None], wanted)
            rows = np.asarray(rows[0])
            kept = np.isfinite(sims[0])
            rows, values = rows[kept], sims[0][kept]
            self._order = rows[np.lexsort((rows, -values))]
        return self._order[:n]


class Searcher:
    """Searches the corpora of the project in the working directory.

    Args:
        device: that encodes queries: `cpu`, `cuda`, ...
    """

    def __init__(self, device: str | None = None) -> None:
        self.encoders = QueryEncoders(device)
        self._lock = threading.Lock()
        self._held: dict[tuple[str, ...], tuple[object, object]] = {}
        self._rankings: OrderedDict[tuple[object, ...], Ranking] = OrderedDict()

    def corpus(self, name: str) -> Corpus:
        """The clips of a corpus; read again after its tables have been replaced.

        Raises:
            UserError: there is no such corpus, or it has not been ingested.
        """
        params = load_params()
        if name not in params.corpora:
            raise UserError(f"No corpus {name!r} in params.yaml: {did_you_mean(name, list(params.corpora))}")
        tables = [layout.table(name, one) for one in ("media", "clips", "captions", "pairs")]
        described = [layout.described(name, one) for one in ("captions", "pairs")]
        return self.current(("corpus", name), [*tables, *described], lambda: _read_corpus(name))

    def gallery(self, corpus: str, encoder: str) -> tuple[Gallery, NDArray[np.int64]]:
        """The cached embeddings of a corpus's clips, and the row of each in `Corpus.table` (-1: no longer there).

        Raises:
            UserError: there are none yet, or they are damaged or cannot be searched.
        """
        clips = self.corpus(corpus)
        path = layout.embeddings(corpus, encoder, "clips")

        def opened() -> tuple[Gallery, NDArray[np.int64]]:
            if not path.exists():
                raise UserError(
                    f"{path} is missing: list encoder {encoder!r} under `embeddings` of params.yaml and run "
                    f"`dvc repro`, or run `hearonce embed {corpus} {encoder}`."
                )
            gallery = Gallery(open_artifact(path))
            return gallery, clips.rows_of(gallery.ids)

        files = [path / "zarr.json" if path.is_dir() else path, layout.table(corpus, "clips")]
        return self.current(("gallery", corpus, encoder), files, opened)

    def takes(self, encoder: str) -> Takes:
        """See `query_encoders.takes`; read again when the encoder's YAML has changed."""
        from pipeline.config.params import config_of
        from pipeline.config.records import named

        return self.current(("takes", encoder), [named("encoders", config_of(encoder))], lambda: takes(encoder))

    def subset(self, corpus: Corpus, path: Path) -> NDArray[np.bool_] | None:
        """The clips of a subset as a mask, None if it cannot be read; read again when its file has changed.

        Args:
            corpus: whose clips.
            path: of the subset's YAML.
        """

        def mask() -> tuple[Corpus, NDArray[np.bool_] | None]:
            try:
                return corpus, corpus.mask(read_subset(corpus.name, path.stem, note=lambda message: None))
            except UserError:
                return corpus, None

        key = ("subset", corpus.name, path.stem)
        tables = [layout.table(corpus.name, name) for name in ("clips", "subsets", *LABELS)]
        return self.current(key, [path, *tables], mask)[1]

    def default_encoder(self, corpus: str, kind: Kind) -> str:
        """The corpus's only or best scored encoder that can embed a kind of query.

        Raises:
            UserError: there is none.
        """
        params = load_params()
        known = [name for name in sorted(params.encoders_of(corpus)) if not name.startswith(FEATURES)]
        able = [name for name in known if self.problem(corpus, name, kind) is None]
        embedding = [name for name in known if layout.embeddings(corpus, name, "clips").exists()]
        if not able and embedding and kind != "text":
            raise UserError(self.problem(corpus, _best_scored(params, corpus, embedding), kind) or "")
        if not able:
            tower = "clips and captions" if kind == "text" else "clips"
            embedded = f" ({', '.join(known)} embed none, or have not been run)" if known else ""
            raise UserError(f"No encoder of {corpus!r} has embedded {tower}{embedded}: run `dvc repro`.")
        return _best_scored(params, corpus, able) if len(able) > 1 else able[0]

    def problem(self, corpus: str, encoder: str, kind: Kind) -> str | None:
        """Why an encoder cannot be asked for a kind of query on a corpus, in a sentence; None if it can."""
        path = layout.embeddings(corpus, encoder, "clips")
        if not path.exists():
            return f"{encoder} has not embedded the clips of {corpus}: run `dvc repro`, or `hearonce embed`."
        if kind == "clip":
            return None
        try:
            able = self.takes(encoder)
        except UserError as error:
            return str(error)
        if kind == "text" and not able.text:
            with_one = [
                name
                for name in load_params().encoders_of(corpus)
                if not name.startswith(FEATURES) and name != encoder and self.problem(corpus, name, "text") is None
            ]
            others = f"these do: {', '.join(sorted(with_one))}" if with_one else "no encoder of the corpus does"
            return f"Encoder {encoder!r} has no caption tower; {others}."
        if kind in ("audio", "video", "file") and (able.media is None or kind not in ("file", able.media)):
            given = f": give --{able.media}, or another --encoder" if able.media else ""
            return f"Encoder {encoder!r} embeds {able.media or 'no clips'}, not {kind}{given}."
        return None

    def ranking(self, query: Query) -> Ranking:
        """All clips by their score for a query.

        Raises:
            UserError: the query or a filter is wrong, nothing is embedded, or a file cannot be read.
        """
        if query.kind == "text" and not query.value.strip():
            raise UserError("The query is empty: type a few words.")
        self.corpus(query.corpus)
        names = query.encoders or (self.default_encoder(query.corpus, query.kind),)
        weights = query.weights
        if weights is not None and (len(weights) != len(names) or min(weights) < 0 or not 0 < sum(weights) < np.inf):
            raise UserError(
                f"{len(names)} encoders take as many weights of at least 0, one of them above: got {list(weights)}."
            )
        if not 0 <= query.words <= 1:
            raise UserError(f"Share of words {query.words}: give one from 0 (embedding alone) to 1 (words alone).")
        if query.words and query.kind != "text":
            raise UserError("Words are compared with a text only: set their share to 0.")
        for name in names:
            problem = self.problem(query.corpus, name, query.kind)
            if problem is not None and layout.embeddings(query.corpus, name, "clips").exists():
                raise UserError(problem)
        for _ in range(REPLACED_TRIES):
            corpus = self.corpus(query.corpus)
            galleries = [self.gallery(query.corpus, name) for name in names]
            key = (query, names, id(corpus), *(id(gallery) for gallery, _ in galleries), self._stamp_of_filter(query))
            with self._lock:
                known = self._rankings.get(key)
                if known is not None:
                    self._rankings.move_to_end(key)
                    return known
            found = self._ranked(query, names, corpus, galleries)
            if self.corpus(query.corpus) is corpus and all(
                self.gallery(query.corpus, name)[0] is gallery
                for name, (gallery, _) in zip(names, galleries, strict=True)
            ):
                with self._lock:
                    self._rankings[key] = found
                    while len(self._rankings) > KEPT_RANKINGS:
                        self._rankings.popitem(last=False)
                return found
        raise UserError(f"The embedding caches of {query.corpus!r} are being replaced: search again in a moment.")

    def _ranked(
        self,
        query: Query,
        names: Sequence[str],
        corpus: Corpus,
        galleries: Sequence[tuple[Gallery, NDArray[np.int64]]],
    ) -> Ranking:
        vectors = [
            self._vector(query, name, gallery, rows, corpus)
            for name, (gallery, rows) in zip(names, galleries, strict=True)
        ]
        shares = np.asarray(query.weights if query.weights is not None else [1.0] * len(names), np.float64)
        sims = np.zeros(len(corpus.table), np.float64 if len(names) > 1 else np.float32)
        for share, vector, (gallery, rows) in zip(shares / shares.sum(), vectors, galleries, strict=True):
            found = gallery.similarities(vector)[0]
            spread = np.full(len(sims), -np.inf, sims.dtype)
            known = rows >= 0
            spread[rows[known]] = found[known]
            sims = spread if len(names) == 1 else sims + share * spread
        similarities = sims.astype(np.float32)
        words = None
        scores = similarities
        if query.words:
            words = self._word_index(corpus).scores(query.value, len(similarities))
            scores = mixed(similarities, words, query.words)
        allowed = np.ones(len(scores), bool)
        if query.subset is not None:
            allowed &= corpus.mask(read_subset(query.corpus, query.subset))
        if query.where is not None:
            allowed &= corpus.mask(set(clips_where(query.corpus, query.where, "--where")))
        if query.kind == "clip":
            allowed[corpus.row(query.value)] = False
        return Ranking(corpus, names, similarities, words, np.where(allowed, scores, np.float32(-np.inf)))

    def _vector(self, query: Query, name: str, gallery: Gallery, rows: NDArray[np.int64], corpus: Corpus) -> Floats:
        if query.kind == "text":
            return self.encoders.text(name, query.value)[None]
        if query.kind != "clip":
            return self.encoders.media(name, query.value)[None]
        own = np.flatnonzero(rows == corpus.row(query.value))
        if not len(own):
            raise UserError(
                f"{gallery.artifact.path} has no clip {query.value!r}: it could not be embedded (`hearonce problems`)."
            )
        return gallery.vectors([int(own[0])])

    def _word_index(self, corpus: Corpus) -> WordIndex:
        key = ("words", corpus.name)
        with self._lock:
            held = self._held.get(key)
        if held is None or held[0] is not corpus:
            held = (corpus, WordIndex(corpus.table["captions"]))
            with self._lock:
                self._held[key] = held
        return held[1]  # type: ignore[return-value]

    def _stamp_of_filter(self, query: Query) -> object:
        return None if query.subset is None else _stamp([FOLDER / query.corpus / f"{query.subset}.yaml"])

    def current(self, key: tuple[str, ...], files: Sequence[Path], make: Callable[[], T]) -> T:
        """What was made of files, made again when one of them has been replaced.

        Args:
            key: of what is made.
            files: that it is made of.
            make: makes it.
        """
        stamp = _stamp(files)
        with self._lock:
            held = self._held.get(key)
        if held is not None and held[0] == stamp:
            return held[1]  # type: ignore[return-value]
        made = make()
        if _stamp(files) == stamp:
            with self._lock:
                held = self._held.get(key)
                if held is not None and held[0] == stamp:  # another thread was first
                    return held[1]  # type: ignore[return-value]
                self._held[key] = stamp, made
        return made


def _stamp(files: Sequence[Path]) -> tuple[tuple[int, int, int] | None, ...]:
    stamps: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(stamps)


def _read_corpus(name: str) -> Corpus:
    clips = read_table(layout.table(name, "clips"), CLIPS).rename({"media_path": "file"})
    media = read_table(layout.table(name, "media"), MEDIA).select("media_id", "has_audio", "has_video")
    texts = (
        read_extended(name, "pairs")
        .join(read_extended(name, "captions"), on="caption_id")
        .group_by("clip_id", maintain_order=True)
        .agg(captions=pl.col("text").unique(maintain_order=True))
    )
    table = (
        clips.join(media, on="media_id", how="left", maintain_order="left")
        .join(texts, on="clip_id", how="left", maintain_order="left")
        .with_columns(pl.col("captions").fill_null(pl.lit([], pl.List(pl.String))))
    )
    return Corpus(name, table)


def _best_scored(params: Params, corpus: str, able: Sequence[str]) -> str:
    """Of the encoders the one whose experiment has the best numbers; the first one if none has been scored."""
    folder = layout.results(corpus, "all")
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        details = json.loads((folder / "details.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return able[0]
    scored = []
    for name, numbers in metrics.items():
        encoders = details.get(name, {}).get("encoders", [])
        if len(encoders) == 1 and encoders[0] in able:
            values = [numbers.get(direction, {}).get(metric) for direction, metric in PREFERRED]
            scored.append((tuple(-1.0 if value is None else float(value) for value in values), encoders[0]))
    return max(scored)[1] if scored else able[0]
