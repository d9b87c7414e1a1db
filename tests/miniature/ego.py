"""Ego4D-like videos in pieces of 600 s, and the question files of AudioEgoMCQ."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile
from media_samples import write_media

from miniature.demo_clips import FPS, SAMPLE_RATE, DemoClip, Placed, Video, level, strung

CHUNK_S = 600
EGO_FPS = 30
STEM = "egomcq_aud_full_filtered_query_and_answer_filter_cliptextfull_silence"
UIDS = tuple(f"{number:08x}-0000-4000-8000-{number:012x}" for number in (0xE601, 0xE602, 0xE603))
LEVELS = ("low", "moderate", "high")
N_QUESTIONS = 60


def build_ego(clips: Sequence[DemoClip], media: Path, annotations: Path) -> None:
    """Writes the corpus: two short videos, and one that is silent and black until clips begin shortly before 600 s.

    Args:
        clips: of the demo.
        media: folder of `ego4d_chunked` and `ego4d_chunked_audio`.
        annotations: the folder that the published json files go to.
    """
    videos = [strung(uid, clips[first::3], 560.0 * (first == 2)) for first, uid in enumerate(UIDS)]
    for video in videos:
        _write_pieces(video, media)
    annotations.mkdir(parents=True, exist_ok=True)
    questions = _questions([one for video in videos for one in video.clips])
    removed = {f"_{'_'.join(other for other in LEVELS if other != kept)}": kept for kept in LEVELS}
    for suffix, kept in {"": None, **removed}.items():
        chosen = [(item, answer) for item, answer in questions if kept is None or level(answer) == kept]
        _dump([item for item, _ in chosen], annotations / f"{STEM}{suffix}.json")
        in_words = [{**item, "query": {**item["query"], "clip_text": one.descriptions[0]}} for item, one in chosen]
        _dump(in_words, annotations / f"{STEM}{suffix}_gpt.json")


def _write_pieces(video: Video, media: Path) -> None:
    folders = [media / part / video.name for part in ("ego4d_chunked_audio", "ego4d_chunked")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for chunk in range(-(-len(video.frames) // (CHUNK_S * FPS))):
        samples = video.samples[chunk * CHUNK_S * SAMPLE_RATE : (chunk + 1) * CHUNK_S * SAMPLE_RATE]
        frames = video.frames[chunk * CHUNK_S * FPS : (chunk + 1) * CHUNK_S * FPS]
        soundfile.write(folders[0] / f"{chunk}.flac", samples, SAMPLE_RATE, subtype="PCM_16")
        write_media(
            folders[1] / f"{chunk}.mp4",
            frames=[frame for frame in frames for _ in range(EGO_FPS // FPS)],
            rate=EGO_FPS,
            video_options={"preset": "ultrafast"},
            key_every=150,
        )


def _questions(placed: Sequence[Placed]) -> list[tuple[dict[str, Any], DemoClip]]:
    """Questions whose clips come from all videos (inter) and from one (intra), with the clips that answer them."""
    draw = random.Random(0)
    questions = []
    for number in range(N_QUESTIONS):
        right = placed[number % len(placed)]
        kind = 1 + number % 2
        others = [one for one in placed if one.clip is not right.clip and (kind == 1 or one.video == right.video)]
        choices = draw.sample(others, 4)
        answer = draw.randrange(5)
        choices.insert(answer, right)
        item = {
            "answer": answer,
            "types": kind,
            "query": _moment(right),
            "choices": {str(position): _moment(one) for position, one in enumerate(choices)},
        }
        questions.append((item, right.clip))
    return questions


def _moment(one: Placed) -> dict[str, Any]:
    return {
        "video_uid": one.video,
        "video_dur": 700.0,
        "narration_source": "narration_pass_1",
        "narration_ind": 0,
        "narration_time": (one.start_s + one.stop_s) / 2,
        "clip_start": one.start_s,
        "clip_end": one.stop_s,
        "clip_text": f"#C C is near a {one.clip.label}",
        "tag_verb": "[0]",
        "tag_noun": "[0, 1]",
    }


def _dump(items: list[dict[str, Any]], path: Path) -> None:
    path.write_text(json.dumps({str(number): item for number, item in enumerate(items)}), encoding="utf-8")
