"""A project of n clips and n captions to run stages in, made without running any."""

from __future__ import annotations

import csv
import hashlib
import shutil
import wave
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.cache.measure import artifact
from cache import tables as schemas
from cache.location import Store
from pipeline.config import layout
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio import AudioFile
from pipeline.media.audio_store import AudioRecord, AudioStore, recipe

CLIPS_PER_MEDIUM = 100
"""HowTo100M has 111."""

SCORED_CAPTIONS = 1000
LISTED_MEDIA = 16
REPOSITORY = Path(__file__).parents[2]
SENTENCES = ("somebody cuts onions", "water runs into a sink", "a pan sizzles", "they talk about the recipe")

PARAMS = """
corpora:
  most: {media: media, annotations: media}
  all: {media: media, annotations: media}
  heard: {media: media, annotations: media}
  scored: {media: media, annotations: media}
  folder: {media: media, annotations: clips.csv}
  published: {media: media, annotations: official}
embeddings: {scored: {corpus: scored, encoder: silero-vad}}
experiments: {paired: {corpus: scored, encoder: silero-vad}}
subsets: {half: {corpus: scored, subset: half}}
fusions: {}
descriptions: {}
imports: {}
speech: {}
levels: {}
trainings: {}
text_trainings: {}
file_trainings: {}
avlnets: {}
text_avlnets: {}
avlnet_experiments: {}
"""


def make_project(rows: int) -> None:
    """Fills the current folder: tables, extracted sound, annotation files and the embedding caches of one experiment.

    Corpus `all` has so many clips and captions, `most` 99 % of them; `heard` has a medium per ten rows; `scored` has
    1,000 captions. `folder` and `published` have media and annotation files, but no tables.
    """
    shutil.copytree(REPOSITORY / "configs", "configs", ignore=shutil.ignore_patterns("media"))
    Path("params.yaml").write_text(PARAMS)
    for name in ("most", "all", "heard", "scored", "folder"):
        Path(f"configs/corpora/{name}.yaml").write_text("reader: folder\nwindow_s: null\n")
    for name, count in (("most", max(1, rows * 99 // 100)), ("all", rows)):
        _tables(name, count, count, CLIPS_PER_MEDIUM)
    _tables("heard", max(1, rows // 10), 1, 1)
    _sound_tracks("heard")
    _scored(rows)
    _annotations(rows)


def _tables(corpus: str, n_clips: int, n_captions: int, clips_per_medium: int) -> None:
    """The tables that ingest and extract_audio would write."""
    number = pl.int_range(n_clips, eager=True)
    medium = number // clips_per_medium
    start = (number % clips_per_medium) * 3.25
    path = "videos/" + medium.cast(pl.String).str.zfill(11) + ".mp4"
    digests = pl.Series([_digest(f"medium {i}") for i in range(int(medium[-1]) + 1)])
    clips = pl.DataFrame(
        {
            "clip_id": path + "@" + start.cast(pl.String) + "-" + (start + 4).cast(pl.String),
            "media_id": path,
            "media_path": path,
            "media_digest": digests.gather(medium),
            "start_s": start,
            "stop_s": start + 4,
        }
    )
    media = clips.select("media_id", path="media_path", digest="media_digest").unique(maintain_order=True)
    length = clips_per_medium * 3.25 + 4
    media = media.with_columns(duration_s=pl.lit(length), has_audio=pl.lit(True), has_video=pl.lit(True))
    frames = pl.lit(None, pl.Int64)
    spans = pl.concat(
        clips.with_columns(modality=pl.lit(one), start_frame=frames, stop_frame=frames).select(list(schemas.SPANS))
        for one in ("sound", "picture")
    )
    which = pl.int_range(n_captions, eager=True)
    captions = pl.DataFrame(
        {
            "caption_id": which.cast(pl.String).str.zfill(16),
            "text": pl.Series(SENTENCES).gather(which % len(SENTENCES)) + ", take " + which.cast(pl.String),
            "source": pl.repeat("given", n_captions, eager=True),
        }
    )
    pairs = pl.DataFrame(
        {"clip_id": clips["clip_id"], "caption_id": captions["caption_id"].gather(number % n_captions)}
    )
    tables = {"media": media, "clips": clips, "spans": spans, "captions": captions, "pairs": pairs}
    for name in ("relevancy", "questions", "subsets"):
        tables[name] = schemas.table([], getattr(schemas, name.upper()))
    for name, table in tables.items():
        schemas.write_table(table, getattr(schemas, name.upper()), layout.table(corpus, name))
    columns = {
        "recipe": recipe(AudioSettings()),
        "sample_rate": 16_000,
        "channels": 1,
        "n_samples": round(length * 16_000),
    }
    audio = media.select("media_id", "digest").with_columns(**{name: pl.lit(one) for name, one in columns.items()})
    schemas.write_table(
        audio.cast({"sample_rate": pl.Int64, "channels": pl.Int64, "n_samples": pl.Int64}),
        schemas.AUDIO,
        layout.audio(corpus),
    )


def _sound_tracks(corpus: str) -> None:
    """The files of extracted sound, of which an extraction with nothing to do looks at records and sizes only."""
    store = AudioStore(Store.default(), AudioSettings())
    for digest in schemas.read_table(layout.table(corpus, "media"), schemas.MEDIA)["digest"]:
        path = store.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        AudioRecord(digest, store.folder.name, AudioFile(16_000, 1, 64_000), 0, "").write(path.with_suffix(".json"))


def _scored(rows: int) -> None:
    """Tables and random embedding caches of an experiment with few captions and many clips."""
    _tables("scored", rows, min(rows, SCORED_CAPTIONS), CLIPS_PER_MEDIUM)
    Path("configs/subsets/scored").mkdir(parents=True)
    Path("configs/subsets/scored/half.yaml").write_text(
        f"where: media_id < 'videos/{rows // 200:011}.mp4' or start_s < 1\n"
    )
    experiment = "corpus: scored\nencoders: [silero-vad]\ncaptions: given\nprotocol: paired-retrieval\n"
    Path("configs/experiments/scored").mkdir(parents=True)
    Path("configs/experiments/scored/paired.yaml").write_text(experiment)
    generator = np.random.default_rng(0)
    for modality, key in (("clips", "clip_id"), ("captions", "caption_id")):
        ids = schemas.read_table(layout.table("scored", modality), getattr(schemas, modality.upper()))[key].to_list()
        path = layout.embeddings("scored", "silero-vad", modality)
        path.parent.mkdir(parents=True, exist_ok=True)
        artifact(path, generator.standard_normal((len(ids), 16)).astype(np.float16), ids)


def _annotations(rows: int) -> None:
    """A caption listing of overlapping clips of few sounds, and annotation files in the style of EPIC-Sounds."""
    places = [(f"{i % LISTED_MEDIA}.wav", i // LISTED_MEDIA * 0.01) for i in range(rows)]
    Path("media/audio/P01").mkdir(parents=True)
    for number in range(LISTED_MEDIA):
        for path in (Path(f"media/{number}.wav"), Path(f"media/audio/P01/{number}.wav")):
            with wave.open(str(path), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(1)
                file.setframerate(1000)
                file.writeframes(bytes([number]) * (rows // LISTED_MEDIA * 10 + 5000))
    with open("clips.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "start", "stop", "caption"))
        writer.writerows(
            (name, f"{start:.2f}", f"{start + 3:.2f}", f"take {i}") for i, (name, start) in enumerate(places)
        )
    Path("configs/corpora/published.yaml").write_text(
        "reader: epic-sounds\nwindow_s: null\n"
        "files: {split: test, relevancy: none, sound: ['audio/{participant}/{video}.wav'], picture: []}\n"
    )
    Path("official").mkdir()
    stem = "official/EPIC_Sounds_test_epicmirstyle"
    head = "narration_id participant_id video_id narration_timestamp start_timestamp stop_timestamp"
    with open(f"{stem}_mainclasses.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*head.split(), "start_frame", "stop_frame", "narration"])
        for i, (name, start) in enumerate(places):
            first, last = (f"00:{int(one // 60):02}:{one % 60:05.2f}" for one in (start, start + 3))
            writer.writerow(
                (
                    f"P01_{i}",
                    "P01",
                    name.removesuffix(".wav"),
                    first,
                    first,
                    last,
                    i,
                    i + 9,
                    f"take {i % SCORED_CAPTIONS}",
                )
            )
    with open(f"{stem}_sentence_mainclasses.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("narration_id", "narration"))
        writer.writerows((f"P01_{i}", f"take {i}") for i in range(min(rows, SCORED_CAPTIONS)))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
