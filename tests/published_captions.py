"""Annotation files in exactly the formats in which corpora with captions are published, and tiny media for them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from media_samples import noise, numbered_frames, write_media

RATE = 16_000
CLOTHO_HEADER = ["file_name", "caption_1", "caption_2", "caption_3", "caption_4", "caption_5"]
AUDIOCAPS_HEADER = ["audiocap_id", "youtube_id", "start_time", "caption"]
MUSICCAPS_HEADER = [
    "ytid",
    "start_s",
    "end_s",
    "audioset_positive_labels",
    "aspect_list",
    "caption",
    "author_id",
    "is_balanced_subset",
    "is_audioset_eval",
]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], end: str = "\n") -> Path:
    """A table as Python's csv module and pandas write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator=end)
        writer.writerows([header, *rows])
    return path


def write_json(path: Path, content: Any) -> Path:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def audio(path: Path, duration_s: float = 0.5, seed: int = 0) -> Path:
    """A file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_media(path, samples=noise(duration_s, RATE, seed=seed), sample_rate=RATE)
    return path


def video(path: Path, duration_s: float = 1.0, seed: int = 0) -> Path:
    """A file with frames and noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = numbered_frames(max(round(duration_s * 5), 1), first=seed)
    write_media(path, samples=noise(duration_s, RATE, seed=seed), sample_rate=RATE, frames=frames, rate=5)
    return path


def clotho(root: Path, sizes: dict[str, int]) -> Path:
    """`clotho_captions_SUBSET.csv` with commas, quotes and an accent, and the folder of each subset."""
    for subset, n_clips in sizes.items():
        rows = []
        for number in range(n_clips):
            name = f"{subset} Größe, {number}.wav"
            captions = [f'A "dog" barks, {number} times {extra}.' for extra in range(5)]
            rows.append([name, *captions])
            audio(root / "media" / subset / name, seed=sum(map(ord, subset)) + number)
        write_csv(root / "annotations" / f"clotho_captions_{subset}.csv", CLOTHO_HEADER, rows, end="\r\n")
    return root
