"""EPIC-KITCHENS-like videos, sound and frames, and the annotation files of AudioEpicMIR and EpicSoundsRet."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from media_samples import write_media
from PIL import Image

from miniature.demo_clips import FPS, SAMPLE_RATE, DemoClip, Placed, Video, level, strung

HEADER = next(
    csv.reader(
        [
            "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,"
            "stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
        ]
    )
)
N_REPEATED = 10


def build_epic(clips: Sequence[DemoClip], media: Path, annotations: Path) -> None:
    """Writes both corpora.

    The last video repeats some clips, so that several clips share a narration, as in the original.

    Args:
        clips: of the demo.
        media: what the EPIC downloader and the published audio script would have filled.
        annotations: the folder `retrieval_annotations`.
    """
    parts = [list(clips[first::3]) for first in range(3)]
    names = ("P01_01", "P01_02", "P02_01")
    videos = [
        strung(name, part + list(clips[:N_REPEATED]) * (name == names[-1]))
        for name, part in zip(names, parts, strict=True)
    ]
    for video in videos:
        _write_video(video, media)
    (annotations / "relevancy").mkdir(parents=True, exist_ok=True)
    placed = [one for video in videos for one in video.clips]
    _write_retrieval(placed, annotations)
    _write_sounds("test", [one for one in placed if one.video.startswith("P01")], annotations)
    _write_sounds("val", [one for one in placed if one.video.startswith("P02")], annotations)


def _write_video(video: Video, media: Path) -> None:
    participant = video.name.split("_")[0]
    folders = [
        media / part
        for part in (
            f"audio/{participant}",
            f"EPIC-KITCHENS/{participant}/videos",
            f"EPIC-KITCHENS/{participant}/rgb_frames/{video.name}",
        )
    ]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folders[0] / f"{video.name}.flac", video.samples, SAMPLE_RATE, subtype="PCM_16")
    made = write_media(
        folders[1] / f"{video.name}.mp4",
        samples=video.samples[:, None],
        frames=video.frames,
        rate=FPS,
        video_options={"preset": "ultrafast"},
    )
    made.rename(made.with_suffix(".MP4"))
    for number, frame in enumerate(video.frames, 1):
        Image.fromarray(frame).save(folders[2] / f"frame_{number:010}.jpg", quality=85)


def _write_retrieval(placed: Sequence[Placed], folder: Path) -> None:
    words = sorted({word for one in placed for word in one.clip.label.split()})
    rows = []
    for number, one in enumerate(placed):
        nouns = one.clip.label.split()
        verb = one.clip.sounding
        times = [_clock(time_s, 2) for time_s in (one.start_s, one.start_s, one.stop_s)]
        frames = [str(int(time_s * FPS) + 1) for time_s in (one.start_s, one.stop_s)]
        classes = [words.index(noun) for noun in nouns]
        place = [f"{one.video}_{number}", one.video[:3], one.video]
        action = [verb, str(words.index(verb)), nouns[0], str(classes[0]), str(nouns), str(classes)]
        rows.append([*place, *times, *frames, one.clip.label, *action])
    described = [_described(one, [before.clip.label for before in placed[:i]]) for i, one in enumerate(placed)]

    def relevancy(clip: list[str], sentence: list[str]) -> float:
        verbs = float(clip[10] == sentence[10])
        nouns = [set(row[14].strip("[]").split(", ")) for row in (clip, sentence)]
        return (verbs + len(nouns[0] & nouns[1]) / len(nouns[0] | nouns[1])) / 2

    stem, sentences = "EPIC_100_retrieval_test", "EPIC_100_retrieval_test_sentence"
    for suffix in ("", "_gptfiltered_low", "_gptfiltered_moderate", "_gptfiltered_high"):
        kept = [i for i, one in enumerate(placed) if not suffix or suffix.endswith(level(one.clip))]
        _write_variant(
            [rows[i] for i in kept],
            [described[i] for i in kept],
            (folder / f"{stem}{suffix}", folder / f"{sentences}{suffix}"),
            folder / "relevancy" / f"caption_relevancy_{stem}{suffix}.pkl",
            relevancy,
        )


def _described(one: Placed, before: list[str]) -> str:
    """A listener's description; the second time a label occurs, the other one if there are two."""
    return one.clip.descriptions[before.count(one.clip.label) % len(one.clip.descriptions)]


def _write_sounds(split: str, placed: Sequence[Placed], folder: Path) -> None:
    classes = sorted({one.clip.sounding for one in placed})
    rows = []
    for number, one in enumerate(placed):
        times = [_clock(time_s, 3) for time_s in (one.start_s, one.start_s, one.stop_s)]
        frames = [str(int(time_s * FPS) + 1) for time_s in (one.start_s, one.stop_s)]
        name = one.clip.sounding
        action = [name, str(classes.index(name)), "", "", "[]", "[]"]
        rows.append([f"{one.video}_{number}", one.video[:3], one.video, *times, *frames, name, *action])
    style = f"EPIC_Sounds_{split}_epicmirstyle"
    _write_variant(
        rows,
        [f"The sound of a {row[8]} nearby." for row in rows],
        (folder / f"{style}_mainclasses", folder / f"{style}_sentence_mainclasses"),
        folder / "relevancy" / f"verb_relevancy_{style}_mainclasses.pkl",
        lambda clip, sentence: float(clip[10] == sentence[10]),
    )


def _write_variant(
    rows: list[list[str]],
    described: list[str],
    stems: tuple[Path, Path],
    relevancy_path: Path,
    relevancy: Callable[[list[str], list[str]], float],
) -> None:
    """The clip file, the file of unique sentences, both with `_gpt`, and the relevancy of every clip and sentence."""
    first: dict[str, int] = {}
    for number, row in enumerate(rows):
        first.setdefault(row[8], number)
    unique = list(first.values())
    _write_csv(Path(f"{stems[0]}.csv"), HEADER, rows)
    _write_csv(Path(f"{stems[1]}.csv"), ["narration_id", "narration"], [[rows[i][0], rows[i][8]] for i in unique])
    in_words = [[*row[:8], text, *row[9:]] for row, text in zip(rows, described, strict=True)]
    _write_csv(Path(f"{stems[0]}_gpt.csv"), HEADER, in_words)
    sentences = [[in_words[i][0], in_words[i][8]] for i in unique]
    _write_csv(Path(f"{stems[1]}_gpt.csv"), ["narration_id", "narration"], sentences)
    matrix = np.array([[relevancy(row, rows[i]) for i in unique] for row in rows])
    relevancy_path.write_bytes(pickle.dumps(matrix, protocol=3))


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _clock(time_s: float, digits: int) -> str:
    whole, fraction = f"{time_s:.{digits}f}".split(".")
    minutes, rest = divmod(int(whole), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}.{fraction}"
