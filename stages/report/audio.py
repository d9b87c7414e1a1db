"""Audio of clips as short MP3s, to play inside the report."""

from __future__ import annotations

import io
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import av
import numpy as np
import polars as pl
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from cache import tables as schemas
from cache.durable import new_file
from cache.errors import UserError
from cache.location import Store
from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import corpus_place
from pipeline.config.subsets import media_kinds
from pipeline.media.audio_store import AudioStore
from pipeline.media.location import Source, open_place
from pipeline.monitor.problems import problem_of

MIME_TYPE = "audio/mpeg"
MP3_RATES = (16000, 22050, 24000, 32000, 44100, 48000)
"""Those of MPEG-1 and MPEG-2. Lower ones are an extension that not every player knows."""
LOW_RATE, LOW_BITS_PER_SECOND = 24000, 48_000
HIGH_BITS_PER_SECOND = 64_000
FADE_S = 0.02


def encode_snippet(samples: NDArray[np.float32], sample_rate: int, max_s: float = 8.0) -> bytes:
    """The first `max_s` seconds of a mono sound as an MP3 file of 48 or 64 kbit/s.

    Args:
        samples: (n,) in -1..1; what lies beyond is clipped, nan is silence.
        sample_rate: any; one that is not in MP3_RATES is resampled to the next higher, or to 48 kHz.
        max_s: where a longer sound is cut, with a fade of 20 ms.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"a snippet needs mono samples of shape (n,), got {samples.shape}")
    sound = np.clip(np.nan_to_num(samples[: max(1, int(max_s * sample_rate))]), -1, 1)
    if len(sound) < len(samples):
        fade = min(len(sound), max(1, int(FADE_S * sample_rate)))
        sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    rate = min((r for r in MP3_RATES if r >= sample_rate), default=MP3_RATES[-1])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono", format="fltp")
        stream.bit_rate = LOW_BITS_PER_SECOND if rate <= LOW_RATE else HIGH_BITS_PER_SECOND
        resampler = AudioResampler(format="fltp", layout="mono", rate=rate)
        whole = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        whole.sample_rate = sample_rate
        for frame in [*resampler.resample(whole), *resampler.resample(None), None]:
            container.mux(stream.encode(frame))
    return buffer.getvalue()


SAMPLE_RATE = 32000
VERSION = 1
"""Of snippets, which are kept from report to report; raised when they are made in another way."""
CHECKSUM_BYTES = 16
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
    """The snippet of a span, from the last report's if it is there."""
    store = AudioStore(Store.default(), load_corpus(corpus).audio, media_kinds(corpus))
    digest = span["media_digest"]
    parts = (VERSION, digest, store.recipe(digest), span["start_s"], span["stop_s"])
    kept = Store.default().previews / f"{blake2b(repr(parts).encode(), digest_size=16).hexdigest()}.snippet"
    if (known := _kept(kept)) is not None:
        return known

    def source() -> Source:  # a media list is read only if need be
        return open_place(corpus_place(corpus).media).source(span["media_path"])

    try:
        samples = store.read(digest, source, span["start_s"], span["stop_s"], SAMPLE_RATE)
    except Exception as error:
        problem_of(error)  # the run's are raised again
        return None
    snippet = encode_snippet(samples, SAMPLE_RATE)
    with suppress(UserError), new_file(kept, clean=False) as temporary:  # a full disk costs the next report some time
        temporary.write_bytes(_checksum(snippet) + snippet)
    return snippet


def _kept(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    checksum, snippet = data[:CHECKSUM_BYTES], data[CHECKSUM_BYTES:]
    return snippet if checksum == _checksum(snippet) else None


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=CHECKSUM_BYTES).digest()
