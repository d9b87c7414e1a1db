"""The sound of clips, for listening in the report."""

from __future__ import annotations

import polars as pl

from cache import tables as schemas
from cache.location import Store
from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import corpus_place
from pipeline.config.subsets import media_kinds
from pipeline.media.audio_store import AudioStore
from pipeline.media.location import Source, open_place
from pipeline.monitor.problems import problem_of
from stages.report.audio_snippet import encode_snippet

SAMPLE_RATE = 32000
MAX_BYTES = 12 * 2**20
"""Of all sounds in a report. As text they take a third more; experiments first in params.yaml have them first."""


class Sounds:
    """Sounds of clips as MP3 files, each made once, and no more of them than a page can bear.

    Args:
        max_bytes: of all sounds together.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._made: dict[tuple[str, str], bytes | None] = {}
        self._bytes_left = max_bytes
        self._without: set[tuple[str, str]] = set()
        self._spans: dict[str, pl.DataFrame] = {}

    @property
    def n_left_out(self) -> int:
        """Clips whose sound had no room."""
        return len(self._without)

    def snippet(self, corpus: str, clip_id: str) -> bytes | None:
        """The first seconds of a clip's sound, or None if it has no sound that can be read, or there is no room."""
        key = corpus, clip_id
        if key not in self._made and key not in self._without:
            if self._bytes_left <= 0:
                self._without.add(key)
            else:
                if corpus not in self._spans:
                    table = layout.table(corpus, "spans")
                    self._spans[corpus] = schemas.read_table(table, schemas.SPANS, pl.col("modality") == "sound")
                # what a second file goes on with is left out
                span = next(self._spans[corpus].filter(pl.col("clip_id") == clip_id).iter_rows(named=True), None)
                self._made[key] = sound = _encoded(corpus, span) if span and span["media_path"] else None
                self._bytes_left -= len(sound or b"")
        return self._made.get(key)


def _encoded(corpus: str, span: dict) -> bytes | None:
    store = AudioStore(Store.default(), load_corpus(corpus).audio, media_kinds(corpus))

    def source() -> Source:  # a media list is read only if need be
        return open_place(corpus_place(corpus).media).source(span["media_path"])

    try:
        samples = store.read(span["media_digest"], source, span["start_s"], span["stop_s"], SAMPLE_RATE)
    except Exception as error:
        problem_of(error)  # the run's are raised again
        return None
    return encode_snippet(samples, SAMPLE_RATE)
