"""A project with one large corpus to search in, made without running a stage: random rows, real tables and files."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import soundfile

from benchmarks.cache.measure import keys
from cache import tables as schemas
from cache.artifact import write_blocks
from cache.formats.group import rows_per_block
from cache.rows import RowFormat, Rows
from pipeline.config import layout

REPOSITORY = Path(__file__).parents[2]
CORPUS, ENCODER, DIM = "made-up", "yamnet-minilm", 384
CLIPS_PER_MEDIUM, WINDOW_S, HOP_S = 50, 10.0, 5.0
RATE = 16_000
FORMAT = RowFormat(DIM, "float32")
"""As the encoder's own embeddings."""

WORDS = """a dog cat bird engine car train rain storm river sea door bell phone child man woman crowd guitar piano drum
barks meows sings starts passes falls rolls flows breaks opens rings cries laughs talks cheers plays slowly loudly near
far in the street kitchen forest house station field at night while people walk and wind blows""".split()  # noqa: SIM905

PARAMS = f"""
corpora: {{{CORPUS}: {{media: media, annotations: media}}}}
embeddings:
  {CORPUS}-{ENCODER}: {{corpus: {CORPUS}, encoder: {ENCODER}, config: configs/encoders/{ENCODER}.yaml, reads: media}}
subsets: {{}}
"""


def make_project(root: Path, clips: int) -> None:
    """Fills a new folder: windows of 10 s every 5 s, 50 to a file, each with a caption of random words.

    Files are hard links to one WAV file, so that ranges of them can be asked for.

    Args:
        root: of the project.
        clips: in the corpus.
    """
    (root / "media").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "configs", root / "configs", ignore=shutil.ignore_patterns("media"))
    (root / "params.yaml").write_text(PARAMS)
    (root / f"configs/corpora/{CORPUS}.yaml").write_text(f"reader: folder\nwindow_s: {WINDOW_S}\n")
    draw = np.random.default_rng(17)
    first = root / "media/00000000.wav"
    length = round((CLIPS_PER_MEDIUM - 1) * HOP_S + WINDOW_S)
    soundfile.write(first, draw.standard_normal(length * RATE).astype(np.float32) / 10, RATE, subtype="PCM_16")
    for number in range(1, -(-clips // CLIPS_PER_MEDIUM)):
        os.link(first, root / f"media/{number:08d}.wav")
    before = Path.cwd()
    os.chdir(root)
    try:
        ids = _tables(clips, hashlib.blake2b(first.read_bytes(), digest_size=16).hexdigest(), float(length))
        rows = draw.standard_normal((clips, DIM), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        packed, step = keys(clips), rows_per_block(FORMAT, clips, clips)
        description = {"modality": "clips", "encoder": ENCODER, "fingerprint": "0" * 32}
        path = layout.embeddings(CORPUS, ENCODER, "clips")
        path.parent.mkdir(parents=True)
        blocks = (
            Rows(FORMAT, packed[start : start + step], rows[start : start + step]) for start in range(0, clips, step)
        )
        write_blocks(path, FORMAT, ids, clips, blocks, description)
    finally:
        os.chdir(before)


def texts(seed: int) -> Iterator[str]:
    """Sentences of three to seven words, without end."""
    draw = random.Random(seed)
    while True:
        yield " ".join(draw.choices(WORDS, k=draw.randint(3, 7)))


def _tables(count: int, digest: str, length: float) -> list[str]:
    number = pl.int_range(count, eager=True)
    path = (number // CLIPS_PER_MEDIUM).cast(pl.String).str.zfill(8) + ".wav"
    start = (number % CLIPS_PER_MEDIUM) * HOP_S
    clips = pl.DataFrame(
        {
            "clip_id": path + "@" + start.cast(pl.String) + "-" + (start + WINDOW_S).cast(pl.String),
            "media_id": path,
            "media_path": path,
            "media_digest": pl.repeat(digest, count, eager=True),
            "start_s": start,
            "stop_s": start + WINDOW_S,
        }
    )
    media = clips.select("media_id", path="media_path", digest="media_digest").unique(maintain_order=True)
    media = media.with_columns(duration_s=pl.lit(length), has_audio=pl.lit(True), has_video=pl.lit(False))
    frames = pl.lit(None, pl.Int64)
    spans = clips.with_columns(modality=pl.lit("sound"), start_frame=frames, stop_frame=frames)
    captions = pl.DataFrame(
        {"caption_id": number.cast(pl.String), "text": list(islice(texts(17), count))}
    ).with_columns(source=pl.lit("given"))
    tables = {
        "media": media,
        "clips": clips,
        "spans": spans.select(list(schemas.SPANS)),
        "captions": captions,
        "pairs": pl.DataFrame({"clip_id": clips["clip_id"], "caption_id": captions["caption_id"]}),
    }
    for name in ("relevancy", "questions", "subsets"):
        tables[name] = schemas.table([], getattr(schemas, name.upper()))
    for name, table in tables.items():
        schemas.write_table(table, getattr(schemas, name.upper()), layout.table(CORPUS, name))
    return clips["clip_id"].to_list()
