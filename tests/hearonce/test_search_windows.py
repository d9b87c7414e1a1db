"""Overlapping windows of one long file, from the folder to the search and the score."""

import json
import math

import av
import numpy as np
import pytest
from clone import REPOSITORY
from media_samples import write_media

from cache.tables import CAPTIONS, CLIPS, PAIRS, read_table
from pipeline.config import layout

RATE = 16000
EVENTS = (
    (7.0, "dogs-barking.mp4", "Dogs are barking."),
    (15.0, "car-horn.mp4", "A car horn honks."),
    (23.0, "cow-moo.mp4", "A cow moos."),
)
"""Start in seconds, where windows without overlap would cut them in two; sound and caption."""


def sound(name):
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(str(REPOSITORY / "configs/corpora/demo/media" / name)) as container:
        decoded = [one for frame in container.decode(audio=0) for one in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in decoded])


@pytest.fixture
def film(project, hearonce):
    """30 s with three events of 2 s and cues, embedded in windows of 4 s every 2 s."""
    samples, cues = np.zeros((30 * RATE, 1), np.float32), []
    for number, (start_s, name, caption) in enumerate(EVENTS, 1):
        first = int(start_s * RATE)
        samples[first : first + 2 * RATE, 0] = np.resize(sound(name), 2 * RATE)
        cues.append(f"{number}\n00:00:{start_s:02.0f},000 --> 00:00:{start_s + 2:02.0f},000\n{caption}\n")
    media = project / "film"
    media.mkdir()
    write_media(media / "film.wav", samples=samples, sample_rate=RATE)
    (media / "film.srt").write_text("\n".join(cues))
    for command in (
        ("init", "film", "--window", "4", "--hop", "2"),
        ("ingest", "film"),
        ("extract-audio", "film"),
        ("embed", "film", "yamnet-minilm", "--device", "cpu"),
        ("score", "film"),
    ):
        code, out, err = hearonce(*command)
        assert code == 0, (command, out, err)
    return project


def test_the_moment_is_found_and_r_at_k_counts_every_relevant_window(film, hearonce):
    clips = read_table(layout.table("film", "clips"), CLIPS)
    assert clips.select("clip_id", "start_s", "stop_s").rows() == [
        (f"film.wav@{start}-{start + 4}", start, start + 4) for start in range(0, 27, 2)
    ]
    pairs = read_table(layout.table("film", "pairs"), PAIRS)
    texts = read_table(layout.table("film", "captions"), CAPTIONS)
    described = pairs.join(texts, on="caption_id").group_by("text").agg("clip_id").rows()
    relevant = {text: set(ids) for text, ids in described}
    assert relevant == {
        text: {f"film.wav@{first + hop:g}-{first + hop + 4:g}" for hop in (-3, -1, 1)} for first, _, text in EVENTS
    }

    precisions = []
    for start_s, _, text in EVENTS:
        code, out, _ = hearonce("search", "film", text, "--top", "14", "--device", "cpu", "--json")
        ids = [one["clip_id"] for one in json.loads(out)]
        assert code == 0 and ids[0] == f"film.wav@{start_s - 1:g}-{start_s + 3:g}"  # the one that has all of it
        ranks = [rank for rank, id in enumerate(ids, 1) if id in relevant[text]]
        precisions.append(np.mean([number / rank for number, rank in enumerate(ranks, 1)]))

    metrics = json.loads((layout.results("film", "all") / "metrics.json").read_text())["film-audio"]
    details = json.loads((layout.results("film", "all") / "details.json").read_text())["film-audio"]
    assert metrics["text_to_clip"]["R@1"] == 100 and details["counts"]["text_to_clip"]["n_items"] == 14
    assert metrics["text_to_clip"]["mAP"] == pytest.approx(np.mean(precisions), abs=1e-5)
    assert details["counts"]["clip_to_text"]["n_queries"] == 9  # windows without a relevant caption are no queries
    chance = details["chance"]["text_to_clip"]
    assert chance["R@1"] == pytest.approx(100 * 3 / 14, abs=1e-3)  # any of three windows, not one
    assert chance["R@5"] == pytest.approx(100 * (1 - math.comb(11, 5) / math.comb(14, 5)), abs=1e-3)
