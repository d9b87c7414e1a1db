"""Searching corpora again and again in one process: galleries and towers stay open, what is replaced is reopened.

The command, `hearonce.search` and the server all ask the same object.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.artifact import open_artifact
from cache.errors import UserError
from hearonce.made_of_files import MadeOfFiles, stamp_of
from hearonce.query_encoders import QueryEncoders, Takes, takes
from hearonce.ranking import Corpus, Kind, Query, Ranking, Rows, read_corpus
from hearonce.together import Together
from pipeline.config import layout
from pipeline.config.params import FEATURES, PARAMS, Params, config_of, load_params
from pipeline.config.records import named
from pipeline.config.subsets import EXTENDED, FOLDER, LABELS, clips_where, read_subset
from pipeline.console.text import did_you_mean
from stages.search.gallery import Floats, Gallery
from stages.search.index import DEPTH, FILE, NOTE, SMALLEST, Index
from stages.search.words import WordIndex, mixed

MOST_BY_INDEX = DEPTH
"""Clips that a search through an index gives, the nearest ones; who asks for more gets all clips compared."""

PREFERRED = (("text_to_clip", "mAP"), ("text_to_clip", "R@1"))
"""Direction and metric by which the default encoder is chosen, among experiments on one encoder."""

KEPT_RANKINGS, KEPT_BYTES = 16, 128 << 20
"""Of the last queries, so that further pages of a result are cheap; of 10^6 clips each takes 16 MB."""

MOST_TOGETHER = 16
"""Queries compared with a gallery in one reading."""

PAUSES_S = (0.0, 0.02, 0.05, 0.1, 0.2)
"""Between attempts while embeddings are being replaced, which are gone for a moment."""


class Searcher:
    """Searches the corpora of the project in the working directory.

    Args:
        device: that encodes queries: `cpu`, `cuda`, ...
    """

    def __init__(self, device: str | None = None) -> None:
        self.encoders = QueryEncoders(device)
        self._lock = threading.Lock()
        self._made = MadeOfFiles()
        self.current = self._made.current
        self._comparing: dict[tuple[str, str], tuple[Gallery, Together[Floats, Floats]]] = {}
        self._rankings: OrderedDict[tuple[object, ...], Ranking] = OrderedDict()

    @property
    def params(self) -> Params:
        """`params.yaml` as it is now."""
        return self.current(("params",), [PARAMS], load_params)

    def corpus(self, name: str) -> Corpus:
        """The clips of a corpus; read again after its tables have been replaced.

        Raises:
            UserError: there is no such corpus, or it has not been ingested.
        """
        self._check_corpus(name)
        return self.current(("corpus", name), _tables(name), partial(read_corpus, name))

    def encoders_of(self, corpus: str) -> list[str]:
        """Encoders that `params.yaml` lists for a corpus, without those of features for other networks.

        Of one with several modalities, each that it has embedded: `pe-av@audio`, `pe-av@video`, `pe-av@audio+video`.

        Raises:
            UserError: there is no such corpus.
        """
        self._check_corpus(corpus)
        names = sorted(name for name in self.params.encoders_of(corpus) if not name.startswith(FEATURES))
        return [gallery for name in names for gallery in galleries_of(corpus, name)]

    def _check_corpus(self, name: str) -> None:
        if name not in self.params.corpora:
            raise UserError(f"No corpus {name!r} in params.yaml: {did_you_mean(name, list(self.params.corpora))}")

    def gallery(self, corpus: str, encoder: str) -> tuple[Gallery, Rows]:
        """The cached embeddings of a corpus's clips, and the row of each in `Corpus.table` (-1: no longer there).

        Raises:
            UserError: there are none yet, or they are damaged or cannot be searched.
        """
        clips = self.corpus(corpus)
        path = layout.embeddings(corpus, encoder, "clips")

        def opened() -> tuple[Gallery, Rows]:
            if not path.exists():
                raise UserError(
                    f"{path} is missing: list encoder {encoder!r} under `embeddings` of params.yaml and run "
                    f"`dvc repro`, or run `hearonce embed {corpus} {encoder}`."
                )
            gallery = Gallery(open_artifact(path))
            return gallery, clips.rows_of(gallery.ids)

        return self.current(("gallery", corpus, encoder), _files_of_gallery(corpus, encoder), opened)

    def takes(self, encoder: str) -> Takes:
        """See `query_encoders.takes`; read again when the encoder's YAML has changed."""
        return self.current(("takes", encoder), [_config(encoder)], partial(takes, encoder))

    def members(self, corpus: Corpus, subset: str) -> NDArray[np.bool_]:
        """True for the clips of `Corpus.table` that a subset has; read again when a file of it has changed.

        Raises:
            UserError: there is no such subset, or it is wrong.
        """
        files = [FOLDER / corpus.name / f"{subset}.yaml", *_tables(corpus.name)]

        def found() -> tuple[Corpus, NDArray[np.bool_]]:
            return corpus, corpus.mask(read_subset(corpus.name, subset, note=partial(print, file=sys.stderr)))

        held = self.current(("subset", corpus.name, subset), files, found)
        return held[1] if held[0] is corpus else found()[1]

    def default_encoder(self, corpus: str, kind: Kind) -> str:
        """The corpus's only or best scored encoder that can embed a kind of query.

        Raises:
            UserError: there is none.
        """
        known = self.encoders_of(corpus)
        able = [name for name in known if self.problem(corpus, name, kind) is None]
        if not able:
            embedded = [name for name in known if layout.embeddings(corpus, name, "clips").exists()]
            if embedded:
                problem = self.problem(corpus, embedded[-1], kind)
                if problem is None:  # replaced between the two looks
                    return embedded[-1]
                raise UserError(problem)
            runs = f" ({', '.join(known)} have not been run)" if known else ""
            raise UserError(f"No encoder of {corpus!r} has embedded its clips{runs}: run `dvc repro`.")
        return _best_scored(corpus, able) if len(able) > 1 else able[0]

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
                for name in self.encoders_of(corpus)
                if name != encoder and self.problem(corpus, name, "text") is None
            ]
            others = f"these do: {', '.join(with_one)}" if with_one else "no encoder of the corpus does"
            return f"Encoder {encoder!r} has no caption tower; {others}."
        if kind in ("audio", "video", "file") and (not able.media or kind not in ("file", *able.media)):
            given = f": give --{able.media[0]}, or another --encoder" if able.media else ""
            return f"Encoder {encoder!r} embeds {' and '.join(able.media) or 'no clips'}, not {kind}{given}."
        return None

    def ranking(self, query: Query) -> Ranking:
        """All clips by their score for a query.

        Raises:
            UserError: the query or a filter is wrong, nothing is embedded, or a file cannot be read.
        """
        if query.kind == "text" and not query.value.strip():
            raise UserError("The query is empty: type a few words.")
        if not 0 <= query.words <= 1:
            raise UserError(f"Share of words {query.words}: give one from 0 (embedding alone) to 1 (words alone).")
        if query.words and query.kind != "text":
            raise UserError("Words are compared with a text only: set their share to 0.")
        for pause in PAUSES_S:
            try:
                found = self._of_one_version(query)
            except UserError:
                if not self._being_replaced(query.corpus):
                    raise
                found = None
            if found is not None:
                return found
            time.sleep(pause)
        raise UserError(f"The embedding caches of {query.corpus!r} are being replaced: search again in a moment.")

    def _of_one_version(self, query: Query) -> Ranking | None:
        """A ranking, None if tables or embeddings were replaced meanwhile."""
        names = self._names(query)
        corpus = self.corpus(query.corpus)
        galleries = [self.gallery(query.corpus, name) for name in names]
        # objects, not their ids: while they are part of a key nothing else can have their ids
        key = (query, names, corpus, *(gallery for gallery, _ in galleries), stamp_of(_files(query, names)))
        with self._lock:
            known = self._rankings.get(key)
            if known is not None:
                self._rankings.move_to_end(key)
                return known
        found = self._ranked(query, names, corpus, galleries)
        if not self._is_current(query.corpus, names, corpus, galleries):
            return None
        with self._lock:
            for former, ranking in list(self._rankings.items()):
                if ranking.corpus.name == corpus.name and ranking.corpus is not corpus:
                    del self._rankings[former]
            self._rankings[key] = found
            size = sum(ranking.size for ranking in self._rankings.values())
            while len(self._rankings) > KEPT_RANKINGS or (size > KEPT_BYTES and len(self._rankings) > 1):
                size -= self._rankings.popitem(last=False)[1].size
        return found

    def _names(self, query: Query) -> tuple[str, ...]:
        """Encoders of a query, which can embed it."""
        names = query.encoders or (self.default_encoder(query.corpus, query.kind),)
        names = tuple(galleries_of(query.corpus, name)[-1] for name in names)
        if query.by is not None and query.kind == "text":
            raise UserError(f"--by {query.by} is no use with a text.")
        for name in names if query.by is not None else ():
            if layout.modality_of(name) is None:
                raise UserError(
                    f"--by {query.by} is for a clip or a file as the query, and an encoder with several modalities: "
                    f"{name!r} has one."
                )
        weights = query.weights
        if weights is not None and (len(weights) != len(names) or min(weights) < 0 or not 0 < sum(weights) < np.inf):
            raise UserError(
                f"{len(names)} encoders take as many weights of at least 0, one of them above: got {list(weights)}."
            )
        for name in names:
            problem = self.problem(query.corpus, name, query.kind)
            if problem is not None and layout.embeddings(query.corpus, name, "clips").exists():
                raise UserError(problem)
            if problem is not None:
                _config(name)  # a name that is wrong is said to be, rather than that it has embedded nothing
        return names

    def _being_replaced(self, corpus: str) -> bool:
        """Whether embeddings that this process has searched are no longer those in their place."""
        searched = self._made.keys(("gallery", corpus))
        return any(not self._made.is_current(key, _files_of_gallery(key[1], key[2])) for key in searched)

    def _is_current(
        self, name: str, encoders: Sequence[str], corpus: Corpus, galleries: Sequence[tuple[Gallery, Rows]]
    ) -> bool:
        return self.corpus(name) is corpus and all(
            self.gallery(name, encoder)[0] is gallery for encoder, (gallery, _) in zip(encoders, galleries, strict=True)
        )

    def _ranked(
        self,
        query: Query,
        names: Sequence[str],
        corpus: Corpus,
        galleries: Sequence[tuple[Gallery, Rows]],
    ) -> Ranking:
        vectors = [
            self._vector(query, name, gallery, rows, corpus)
            for name, (gallery, rows) in zip(names, galleries, strict=True)
        ]
        shares = np.asarray(query.weights if query.weights is not None else [1.0] * len(names), np.float64)
        sims = np.zeros(len(corpus.table), np.float64 if len(names) > 1 else np.float32)
        for name, share, vector, (gallery, rows) in zip(names, shares / shares.sum(), vectors, galleries, strict=True):
            index = self._index(query, name, gallery) if len(names) == 1 else None
            spread = np.full(len(sims), -np.inf, sims.dtype)
            if index is not None:
                found, numbers = (part[0] for part in index.top(vector, MOST_BY_INDEX))
                numbers, found = numbers[numbers >= 0], found[numbers >= 0]
                rows = rows[numbers]
            else:
                found = self._similarities((query.corpus, name), gallery, vector)
            known = rows >= 0
            spread[rows[known]] = found[known]
            if len(names) > 1:  # what one of them has not embedded is left out, whatever its share
                with np.errstate(invalid="ignore"):
                    spread = sims + np.where(np.isfinite(spread), share * spread, -np.inf)
            sims = spread
        similarities = sims.astype(np.float32)
        words = None
        scores = similarities
        if query.words:
            words = self._word_index(corpus).scores(query.value, len(similarities))
            scores = mixed(similarities, words, query.words)
        allowed = np.ones(len(scores), bool)
        if query.subset is not None:
            allowed &= self.members(corpus, query.subset)
        if query.where is not None:
            allowed &= self._fulfilling(corpus, query.where)
        if query.kind == "clip":
            allowed[corpus.row(query.value)] = False
        if not allowed.all():
            scores = np.where(allowed, scores, np.float32(-np.inf))
        return Ranking(corpus, names, similarities, words, scores, approximate=index is not None)

    def _similarities(self, key: tuple[str, str], gallery: Gallery, vector: Floats) -> Floats:
        """Of one query (1, dim) to all rows; queries that come while the gallery is read are compared together."""

        def compared(queries: Sequence[Floats]) -> list[Floats]:
            return list(gallery.similarities(np.concatenate(queries)))

        with self._lock:
            held = self._comparing.get(key)
            if held is None or held[0] is not gallery:
                held = self._comparing[key] = gallery, Together(compared, MOST_TOGETHER)
        return held[1](vector)

    def _index(self, query: Query, encoder: str, gallery: Gallery) -> Index | None:
        """The index of a large gallery; None where there is none, it is of no use, or a filter asks for all scores."""
        corpus, folder = query.corpus, layout.searching(query.corpus, encoder, "index")
        if query.exact or query.words or query.subset or query.where:
            return None
        if len(gallery) < SMALLEST or not (folder / NOTE).is_file():
            return None

        def opened() -> Index | None:
            try:
                return Index(gallery, folder)
            except UserError as error:
                print(f"hearonce: {error} Until then all clips are compared.", file=sys.stderr)
                return None

        files = [folder / NOTE, folder / FILE, *_files_of_gallery(corpus, encoder)]
        return self.current(("index", corpus, encoder), files, opened)

    def _fulfilling(self, corpus: Corpus, condition: str) -> NDArray[np.bool_]:
        def found() -> tuple[Corpus, NDArray[np.bool_]]:
            return corpus, corpus.mask(set(clips_where(corpus.name, condition, "--where")))

        held = self.current(("condition", corpus.name, condition), _tables(corpus.name), found)
        return held[1] if held[0] is corpus else found()[1]

    def _vector(self, query: Query, name: str, gallery: Gallery, rows: Rows, corpus: Corpus) -> Floats:
        if query.kind == "text":
            return self.encoders.text(name, query.value)[None]
        if query.kind != "clip":
            by = query.by or (None if query.kind == "file" else query.kind)
            return self.encoders.media(name, query.value, by)[None]
        if query.by is not None:
            gallery, rows = self.gallery(query.corpus, layout.of_modality(name, query.by))
        own = np.flatnonzero(rows == corpus.row(query.value))
        if not len(own):
            raise UserError(
                f"{gallery.artifact.path} has no clip {query.value!r}: it could not be embedded (`hearonce problems`)."
            )
        return gallery.vectors([int(own[0])])

    def _word_index(self, corpus: Corpus) -> WordIndex:
        def made() -> tuple[Corpus, WordIndex]:
            return corpus, WordIndex(corpus.table["captions"])

        held = self.current(("words", corpus.name), _tables(corpus.name), made)
        return held[1] if held[0] is corpus else made()[1]


def galleries_of(corpus: str, encoder: str) -> list[str]:
    """An encoder as it can be searched: by its name, or one name for each modality that it has embedded, both last."""
    if layout.modality_of(encoder) is not None or layout.embeddings(corpus, encoder, "clips").exists():
        return [encoder]
    names = [layout.of_modality(encoder, modality) for modality in layout.MODALITIES]
    return [name for name in names if layout.embeddings(corpus, name, "clips").exists()] or [encoder]


def _tables(corpus: str) -> list[Path]:
    """What clips, their captions and subsets are read from."""
    own = [layout.table(corpus, name) for name in ("media", "clips", *EXTENDED, *LABELS)]
    return [*own, *(layout.described(corpus, name) for name in EXTENDED)]


def _files_of_gallery(corpus: str, encoder: str) -> list[Path]:
    path = layout.embeddings(corpus, encoder, "clips")
    return [path, *(path / part for part in ("zarr.json", "ids", "keys", "values")), layout.table(corpus, "clips")]


def _config(encoder: str) -> Path:
    return named("encoders", config_of(encoder))


def _files(query: Query, encoders: Sequence[str]) -> list[Path]:
    """Besides tables and embeddings, what the answer to a query depends on."""
    files = [] if query.subset is None else [FOLDER / query.corpus / f"{query.subset}.yaml"]
    if query.kind != "clip":
        files += [_config(encoder) for encoder in encoders]
    if query.kind in ("audio", "video", "file"):
        files.append(Path(query.value))
    return files


def _best_scored(corpus: str, able: Sequence[str]) -> str:
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
