"""Clips per second: from files through the run of a stage, the model alone fed from memory, the original's loop."""

from __future__ import annotations

import inspect
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.encoders.gpu import Utilisation
from cache.location import Store
from cache.row_store import RowStore
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio_store import AudioStore
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.batches import FIRST_BATCH
from pipeline.runner.local import LocalRunner
from pipeline.runner.run import compute_missing
from stages.embed.clips import Clip
from stages.embed.encoder import AudioInput, Encoder
from stages.embed.inputs import clip_reader
from stages.embed.towers import LoadedTower

IN_MEMORY = 128
"""Prepared clips that the model alone is fed with again and again."""


class Bench:
    """One loaded clip tower, measured in several ways on the same clips.

    Args:
        encoder: with its checkpoint.
        tower: its clip tower.
        clips: what is embedded.
        batch_size: rows per forward pass; chosen by the run if None.
        workers: decoding threads.
        device: where the tower lies.
    """

    def __init__(
        self,
        encoder: Encoder,
        tower: LoadedTower,
        clips: Sequence[Clip],
        batch_size: int | None,
        workers: int | None,
        device: torch.device,
    ) -> None:
        self.encoder, self.tower, self.clips = encoder, tower, clips
        self.batch_size, self.workers, self.device = batch_size or FIRST_BATCH, workers, device
        self._given = batch_size

    @property
    def listens(self) -> bool:
        """The encoder is one of sound, whose extraction is part of the time from files."""
        return isinstance(self.encoder.clip_input, AudioInput)

    def warm_up(self, store: Store) -> list[Any]:
        """Prepares the clips that `model_alone` is fed with, and runs each size of batch once."""
        clips = self.clips[:IN_MEMORY]
        reader = clip_reader(self.encoder.clip_input, clips, AudioStore(store, AudioSettings()))
        prepared = [self.tower.prepare(item, row.key) for one in reader.rows for row, item in reader.read([one])]
        for size in {min(self.batch_size, len(prepared)), len(self.clips) % self.batch_size, 1} - {0}:
            for _ in range(2):
                self.tower.encode(prepared[:size])
        return prepared

    def model_alone(self, prepared: Sequence[Any], batches: int) -> float:
        """Clips per second of `encode` on prepared clips in memory, the transfer to the device included."""
        starts = range(0, max(1, len(prepared) - self.batch_size + 1), self.batch_size)
        chosen = [prepared[first : first + self.batch_size] for first in starts]
        started = time.perf_counter()
        done = 0
        for number in range(batches):
            done += len(self.tower.encode(chosen[number % len(chosen)]))
        return done / (time.perf_counter() - started)

    def from_files(self, store: Store) -> tuple[float, Summary, float | None]:
        """Clips per second through the run of a stage into a row store, where the time went, and GPU utilisation.

        Sound is extracted from the compressed files unless the store has it already.
        """
        reader = clip_reader(self.encoder.clip_input, self.clips, AudioStore(store, AudioSettings()))
        summary, problems = Summary("benchmark"), Problems("benchmark")
        with tempfile.TemporaryDirectory(dir=store.root) as folder, Utilisation(self.device) as utilisation:
            rows = RowStore.ensure(folder, "clips", "0" * 32, self.encoder.row_format("clips"))
            started = time.perf_counter()
            compute_missing(
                reader.rows,
                rows,
                LocalRunner(reader.read, lambda: (self.tower, {}), batch_size=self._given, workers=self.workers),
                problems=problems,
                summary=summary,
            )
            seconds = time.perf_counter() - started
        if problems.found:
            raise SystemExit(f"{len(problems)} of {len(self.clips)} clips failed: {problems.found[0].reason}")
        return len(self.clips) / seconds, summary, utilisation.mean


def reference_loop(
    family: str, reference: Path, encoder: Encoder, device: torch.device
) -> Callable[[Path], np.ndarray]:
    """The original's own way of embedding one file, from a checkout of its repository."""
    module = import_module(f"benchmarks.encoders.references.{family.replace('-', '_')}")
    config = encoder.config
    arguments = [reference, Path(str(getattr(config, "checkpoint", ""))), Path(str(getattr(config, "text_model", "")))]
    if "device" in inspect.signature(module.load).parameters:
        return module.load(*arguments, device=device)
    if device.type != "cpu":
        raise SystemExit(f"The reference loop of {family} runs on the CPU only: leave --reference out.")
    return module.load(*arguments)


def measure_reference(embed: Callable[[Path], np.ndarray], clips: Sequence[Clip]) -> float:
    """Clips per second of the original's loop, its first clip as a warm-up."""
    embed(clips[0].spans[0].source)
    started = time.perf_counter()
    for clip in clips:
        embed(clip.spans[0].source)
    return len(clips) / (time.perf_counter() - started)
