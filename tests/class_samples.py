"""A corpus of clips with classes, embedded by given rows, as ingest and embed would write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cache import tables
from cache.artifact import write_artifact
from cache.keys import caption_key
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.config import layout
from pipeline.config.classes import caption_id, prompted_id, source_of

CORPUS = "sounds"


def write_tables(
    classes: Sequence[str],
    of_clip: Mapping[str, Sequence[str]],
    prompts: Mapping[str, int] = {},
    subsets: Mapping[str, Sequence[str]] = {},
) -> None:
    """Writes the tables of a corpus.

    Args:
        classes: names, in order.
        of_clip: clip -> its classes.
        prompts: file of templates -> how many it has.
        subsets: name -> clips.
    """
    captions = [{"caption_id": caption_id(name), "text": name, "source": "labels"} for name in classes]
    for prompt, n in prompts.items():
        captions += [
            {"caption_id": prompted_id(prompt, k, name), "text": f"{prompt} {k} {name}", "source": source_of(prompt)}
            for k in range(n)
            for name in classes
        ]
    clips = [
        {"clip_id": one, "media_id": one, "media_path": one, "media_digest": "", "start_s": 0.0, "stop_s": 1.0}
        for one in of_clip
    ]
    pairs = [{"clip_id": clip, "caption_id": caption_id(name)} for clip, own in of_clip.items() for name in own]
    rows = [{"subset": name, "kind": "clip", "id": clip} for name, own in subsets.items() for clip in own]
    for name, found, schema in (
        ("clips", clips, tables.CLIPS),
        ("captions", captions, tables.CAPTIONS),
        ("pairs", pairs, tables.PAIRS),
        ("subsets", rows, tables.SUBSETS),
        ("spans", [], tables.SPANS),
    ):
        tables.write_table(tables.table(found, schema), schema, layout.table(CORPUS, name))


def write_rows(encoder: str, clips: Mapping[str, np.ndarray], captions: Mapping[str, np.ndarray]) -> None:
    """Writes the embeddings of clips and captions by id."""
    for modality, rows in (("clips", clips), ("captions", captions)):
        values = np.stack(list(rows.values())).astype(np.float32)
        store = RowStore.ensure("store", modality, encoder.encode().hex().ljust(32, "0"), RowFormat(values.shape[1]))
        keys = [caption_key(modality + one) for one in rows]
        store.append(keys, values)
        description = {"modality": modality, "encoder": encoder, "fingerprint": ""}
        write_artifact(layout.embeddings(CORPUS, encoder, modality), list(rows), keys, store, description)
