"""Full text of captions (SQLite FTS5), and how its scores are mixed with those of embeddings.

A clip's score is that of its best caption: BM25 (S. Robertson and H. Zaragoza, The Probabilistic Relevance Framework,
2009) over the words of the query, any of which may match, divided by the best score of the query, so that it lies in
[0, 1]. Chinese, Japanese and Thai are written without spaces: for them characters are words. Text is brought to
Unicode's form NFKC first: composed, decomposed, full-width and half-width letters are the same.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float32]

WITHOUT_SPACES = re.compile(r"([\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af])")
"""Thai, Kana, Han and Hangul."""

LETTERS = "L* N* M* Co"
"""Categories of Unicode of which words are made: with marks, the vowels of Devanagari and its relatives."""

MOST_WORDS = 64
"""Of a query; later ones are left out of the full text, not of the embedding."""


class WordIndex:
    """The captions of a corpus, searched by words.

    Args:
        captions: list of strings of each clip.
    """

    def __init__(self, captions: pl.Series) -> None:
        self._lock = threading.Lock()  # one connection, used by one thread at a time
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "CREATE VIRTUAL TABLE captions USING fts5(text, clip UNINDEXED, "
            f"tokenize=\"porter unicode61 remove_diacritics 2 categories '{LETTERS}'\")"
        )
        with self._database:
            self._database.executemany("INSERT INTO captions VALUES (?, ?)", _rows(captions))

    def scores(self, query: str, n_clips: int) -> Floats:
        """float32 (n_clips,) in [0, 1]; 0 where no word matches.

        Args:
            query: words as a person types them; no syntax of its own.
            n_clips: of the corpus.
        """
        result = np.zeros(n_clips, np.float32)
        words = _words(query)
        if not words:
            return result
        match = " OR ".join('"' + word.replace('"', '""') + '"' for word in words)
        with self._lock:
            found = self._database.execute(
                "SELECT clip, bm25(captions) FROM captions WHERE captions MATCH ?", (match,)
            ).fetchall()
        if found:
            clips, ranks = np.array(found, np.float64).T
            np.maximum.at(result, clips.astype(np.int64), -ranks.astype(np.float32))  # FTS5: lower is better
            most = result.max()
            result = result / most if most > 0 else result
        return result


def mixed(similarities: Floats, words: Floats, share: float) -> Floats:
    """Scores of embeddings and of words in one, in [0, 1].

    Similarities are brought to [0, 1] by the least and the largest of the corpus for this query, as the words' scores
    are, so that an equal share means an equal say.

    Args:
        similarities: (n,), -inf for clips without an embedding, which stay out.
        words: (n,) in [0, 1].
        share: of the words, in [0, 1].
    """
    known = np.isfinite(similarities)
    if not known.any():
        return similarities
    low, high = similarities[known].min(), similarities[known].max()
    scaled = (similarities - low) / max(high - low, np.float32(1e-12))
    return np.where(known, (1 - share) * scaled + share * words, np.float32(-np.inf)).astype(np.float32)


def _words(text: str) -> list[str]:
    letters = "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in _spaced(text))
    return list(dict.fromkeys(letters.split()))[:MOST_WORDS]


def _spaced(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return WITHOUT_SPACES.sub(r" \1 ", text.replace("\0", " "))


def _rows(captions: pl.Series) -> Iterator[tuple[str, int]]:
    for clip, texts in enumerate(captions):
        for text in texts if texts is not None else ():
            yield _spaced(text), clip
