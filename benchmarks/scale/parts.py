"""What is measured: stages as the command line calls them, around a tower that computes nothing to speak of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from unittest.mock import patch

import numpy as np

from pipeline.media.containers import MediaError
from stages.check import check
from stages.embed import command
from stages.embed.audio_reader import AudioReader
from stages.embed.encoder import AudioInput, Encoder, EncoderConfig, ItemKind
from stages.embed.towers import TowerLoader
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.report.command import report
from stages.score.command import score

DIM = 16
BATCH = 256


class Planned(Exception):
    """A stage knows what is missing and wants to load its tower."""


class Tower:
    """Gives every row the same numbers."""

    def prepare(self, item: object, key: bytes) -> object:
        """Nothing to do."""
        return item

    def encode(self, batch: list[object]) -> np.ndarray:
        """Ones."""
        return np.ones((len(batch), DIM), np.float32)


class Trivial(Encoder[EncoderConfig]):
    """An encoder that listens and reads; one of another version has rows of its own."""

    dim = DIM
    clip_input = AudioInput(16_000)

    def __init__(self, version: str, towers: tuple[ItemKind, ...]) -> None:
        super().__init__(EncoderConfig(family="trivial"))
        self._version, self.towers = version, towers  # type: ignore[misc]

    def clip_identity(self) -> Mapping[str, str]:
        """The version."""
        return {"version": self._version}

    caption_identity = clip_identity

    def load_clip_tower(self, device: object) -> Tower:
        """Not asked for: see `_embed`."""
        raise NotImplementedError

    load_caption_tower = load_clip_tower


def _embed(side: ItemKind, corpus: str, version: str = "1", plan_only: bool = False, broken: bool = False) -> None:
    """An embedding command; samples are not read, for that is decoding, unless `broken`, when none can be."""
    samples = np.zeros(16, np.float32)

    def read(reader: AudioReader, clip: object) -> np.ndarray:
        if broken:
            raise MediaError("no audio in this clip")
        return samples

    def load(_: object) -> tuple[Tower, dict[str, str]]:
        if plan_only:
            raise Planned
        return Tower(), {}

    with (
        patch.object(command, "load_encoder", lambda name: Trivial(version, (side,))),
        patch.object(command, "is_avlnet", lambda name: False),
        patch.object(TowerLoader, "__call__", load),
        patch.object(AudioReader, "_samples", read),
    ):
        command.embed(corpus, "trivial", keep_going=True, batch_size=BATCH, device="cpu")


def _plan() -> None:
    try:
        _embed("clips", "all", "2", plan_only=True)
    except Planned:
        return
    raise AssertionError("nothing was missing")


PARTS: dict[str, tuple[str, Callable[[], None]]] = {
    "ingest-folder": ("ingest, a listing", lambda: ingest("folder")),
    "ingest-published": ("ingest, files in the style of EPIC-Sounds", lambda: ingest("published")),
    "extract-audio": ("extract_audio with nothing to do, a medium per ten rows", lambda: extract_audio("heard")),
    "plan": ("embed, clips until the tower is loaded", _plan),
    "run-clips": ("embed, clips, 99 % of the rows", lambda: _embed("clips", "most")),
    "run-captions": ("embed, captions, 99 % of the rows", lambda: _embed("captions", "most")),
    "append-clips": ("embed, clips, the other 1 %", lambda: _embed("clips", "all")),
    "append-captions": ("embed, captions, the other 1 %", lambda: _embed("captions", "all")),
    "noop-clips": ("embed, clips with nothing to do", lambda: _embed("clips", "all")),
    "noop-captions": ("embed, captions with nothing to do", lambda: _embed("captions", "all")),
    "broken": ("embed, clips, no sound can be read", lambda: _embed("clips", "all", "3", broken=True)),
    "score": ("score, paired retrieval, 1,000 captions", lambda: score("scored")),
    "score-subset": ("score, half of the clips", lambda: score("scored", "half")),
    "report": ("report", report),
    "check": ("check", check),
}
"""In this order, for later ones read what earlier ones wrote: name -> (what the table calls it, what to do)."""


def measured(name: str) -> dict[str, float]:
    """Does one part in this process: seconds of processors and of the clock, and bytes by which memory rose."""
    before = peak_bytes()
    clock, processors = time.perf_counter(), time.process_time()
    PARTS[name][1]()
    seconds = {"seconds": time.process_time() - processors, "clock": time.perf_counter() - clock}
    return {**seconds, "bytes": peak_bytes() - before}


def peak_bytes() -> int:
    """Most memory that this process has had so far; getrusage would count what it was forked from."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
