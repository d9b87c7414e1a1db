"""The sound of clips, for listening in the report."""

from __future__ import annotations

from functools import cache

from cache import tables as schemas
from cache.location import Store
from pipeline import layout
from pipeline.audio_store import AudioStore
from pipeline.config import corpus_place, load_corpus
from pipeline.media.audio import read_audio
from pipeline.media.errors import MediaError
from stages.report.audio_snippet import encode_snippet

SAMPLE_RATE = 32000


@cache
def _clips(corpus: str) -> dict[str, dict]:
    rows = schemas.read_table(layout.table(corpus, "clips"), schemas.CLIPS).iter_rows(named=True)
    return {row["clip_id"]: row for row in rows}


@cache
def snippet(corpus: str, clip_id: str) -> bytes | None:
    """The first seconds of a clip's sound as an MP3 file, or None if it has no sound that can be read."""
    clip = _clips(corpus).get(clip_id)
    if clip is None or not clip["media_path"]:
        return None
    store = AudioStore(Store.default(), load_corpus(corpus).audio)
    try:
        store.ensure(clip["media_digest"], corpus_place(corpus).media / clip["media_path"])
        samples = read_audio(store.path(clip["media_digest"]), clip["start_s"], clip["stop_s"], SAMPLE_RATE)
    except (MediaError, OSError):
        return None
    return encode_snippet(samples, SAMPLE_RATE)
