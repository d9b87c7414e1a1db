"""A small corpus whose features are cached: audio, video and text of a clip come from one hidden vector."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl

from cache import tables
from cache.artifact import write_artifact
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.config import layout

CORPUS = "mine"
N = 24
HIDDEN, PICTURE, WORDS = 5, 6, 7
AUDIO = "features/avlnet-spectrogram"
FEATURES_2D, FEATURES_3D, VECTORS = "features/resnet152", "features/resnext101-3d", "features/word2vec"


def write_features(
    encoder: str, modality: str, rows: dict[str, np.ndarray], dtype: str = "float32", corpus: str = CORPUS
) -> None:
    """Writes ragged rows as `embed` does."""
    row_format = RowFormat(next(iter(rows.values())).shape[1], dtype, ragged=True)
    store = RowStore.ensure("store", modality, hashlib.md5(encoder.encode()).hexdigest(), row_format)
    keys = [hashlib.md5(f"{modality}{one}".encode() + row.tobytes()).digest() for one, row in rows.items()]
    with store.writer({}) as writer:
        writer.add(keys, list(rows.values()))
    description = {
        "modality": modality,
        "encoder": encoder.removeprefix("features/"),
        "fingerprint": store.description.fingerprint,
    }
    write_artifact(layout.embeddings(corpus, encoder, modality), list(rows), keys, store, description)


def write_corpus(
    n: int = N, seed: int = 0, silent: int = 1, blind: int = 1, picture: int = PICTURE, words: int = WORDS
) -> list[str]:
    """Tables and features of n clips with one caption each, in the current project.

    Args:
        n: clips.
        seed: of all numbers.
        silent: the last clips have no audio.
        blind: the first clips have no video.
        picture: length of a 2D feature, and of a 3D one.
        words: length of a word vector.

    Returns:
        The clip ids.
    """
    random = np.random.default_rng(seed)
    clips = [f"{i}.mp4" for i in range(n)]
    records = {
        "clips": [
            {"clip_id": one, "media_id": one, "media_path": one, "media_digest": "", "start_s": 0.0, "stop_s": 9.0}
            for one in clips
        ],
        "spans": [],
        "captions": [{"caption_id": f"c{i}", "text": f"text {i}", "source": "given"} for i in range(n)],
        "pairs": [{"clip_id": one, "caption_id": f"c{i}"} for i, one in enumerate(clips)],
    }
    schemas = {"clips": tables.CLIPS, "spans": tables.SPANS, "captions": tables.CAPTIONS, "pairs": tables.PAIRS}
    for name, rows in records.items():
        tables.write_table(tables.table(rows, schemas[name]), schemas[name], layout.table(CORPUS, name))
    hidden = random.standard_normal((n, HIDDEN))

    def over_time(row: np.ndarray, map_: np.ndarray, length: int, noise: float) -> np.ndarray:
        return (row @ map_ + noise * random.standard_normal((length, map_.shape[1]))).astype(np.float32)

    maps = {dim: random.standard_normal((HIDDEN, dim)) for dim in (40, picture, words)}
    seen = slice(blind, None)
    write_features(
        AUDIO,
        "clips",
        {
            one: np.clip(8 * over_time(row, maps[40], int(random.integers(40, 200)), 1.0) - 40, -80, 0)
            for one, row in list(zip(clips, hidden, strict=True))[: n - silent]
        },
    )
    for encoder in (FEATURES_2D, FEATURES_3D):
        rows = {
            one: over_time(row, maps[picture], int(random.integers(2, 9)), 0.1)
            for one, row in list(zip(clips, hidden, strict=True))[seen]
        }
        write_features(encoder, "clips", rows, "float16")
    vectors = {f"c{i}": over_time(row, maps[words], int(random.integers(0, 9)), 0.3) for i, row in enumerate(hidden)}
    write_features(VECTORS, "captions", vectors)
    return clips


def write_training(name: str = "small", **options: object) -> None:
    """A training of the corpus that takes a second."""
    given = {
        "corpus": CORPUS,
        "dim": 8,
        "audio_widths": [8, 8, 8, 16, 16],
        "max_frames": 96,
        "batch_size": 8,
        "epochs": 2,
        "lr": 1e-3,
        "lr_decay": 0.5,
        **options,
    }
    folder = Path("configs/trainings") / CORPUS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text("".join(f"{key}: {value}\n" for key, value in given.items()))


def run(name: str = "small", **options: object) -> tuple[list[float], dict]:
    """Trains; the losses of all steps and the last metrics."""
    from stages.train.command import train

    train(name, **{"device": "cpu", "workers": 2, "processes": 1, "save_every": 600.0, **options})
    return losses(name), json.loads((layout.training(name) / "live/metrics.json").read_text())


def losses(name: str) -> list[float]:
    """The loss of each step of a training."""
    return pl.read_csv(layout.training(name) / "live/plots/metrics/train/loss.tsv", separator="\t")["loss"].to_list()


def evaluations(name: str) -> list[list[float]]:
    """What was measured each time in a training: all metrics in all directions."""
    folder = layout.training(name) / "live/plots/metrics/evaluation"
    tables = [pl.read_csv(path, separator="\t")[path.stem] for path in sorted(folder.glob("*/*.tsv"))]
    return [list(row) for row in zip(*tables, strict=True)]


def states() -> list[Path]:
    """The saved states of trainings that have not finished."""
    return list(Path(".hearonce/trainings").glob("*/state.pt"))
