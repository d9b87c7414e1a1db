"""One-off use, for notebooks and checks: the stages' preparation and encoding without DVC and without a cache."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer

from cache.durable import new_file
from cache.errors import UserError
from cache.keys import KeyIndex, caption_keys, unpack_keys
from cache.location import Store
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import MediaError
from pipeline.media.probe import probe
from pipeline.media.unchanged import digest_memory, ingested
from pipeline.monitor.device import pick_device
from pipeline.monitor.problems import problem_of, written_out
from pipeline.monitor.summary import Summary
from pipeline.runner.local import LocalRunner
from pipeline.runner.rows import WantedRows
from pipeline.runner.run import Read
from stages.embed.clips import Clip, Span
from stages.embed.encoder import AudioInput, Encoder, Modality
from stages.embed.inputs import CaptionReader, clip_reader
from stages.embed.registry import load_encoder
from stages.embed.towers import LoadedTower, load_tower

TEXTS_TOGETHER = 256
Segment = tuple[str | Path, float, float]
"""A media file, and start and stop within it in seconds."""


class OpenEncoder:
    """An encoder ready to use on files and strings; prepares and encodes as the `embed` stage does.

    Args:
        encoder: from `load_encoder`.
        device: `cpu`, `cuda`, ...; a GPU where there is one by default.
    """

    def __init__(self, encoder: Encoder, device: str | None = None) -> None:
        self.encoder = encoder
        self._device_name = device
        self._towers: dict[Modality, LoadedTower] = {}
        self._summary = Summary("encode")

    def clips(self, clips: Sequence[str | Path | Segment]) -> np.ndarray | list[np.ndarray]:
        """Embeds videos (files or folders of frames) or audio files, whole or in part.

        Args:
            clips: files, or segments `(file, start, stop)` in seconds; a file is decoded once for all its segments.

        Returns:
            float32 array of shape (len(clips), dim); of an encoder with ragged rows a list of arrays (frames, dim).

        Raises:
            UserError: a file lacks the audio or the frames that the encoder needs, cannot be decoded, or is shorter
                than its segment; or the encoder has no tower for clips.
        """
        self._check_tower("clips")
        kinds: dict[str, str] = {}
        opened = [self._opened(clip, kinds) for clip in clips]
        with tempfile.TemporaryDirectory() as scratch:
            audio = AudioStore(Store(Path(scratch)), AudioSettings(), kinds)
            reader = clip_reader(self.encoder.clip_input, opened, audio)
            return self._encoded("clips", reader.rows, reader.read)

    def captions(self, texts: Sequence[str]) -> np.ndarray | list[np.ndarray]:
        """Embeds texts: float32 (len(texts), dim), or a list of arrays (words, dim).

        Raises:
            UserError: the encoder has no tower for captions.
        """
        self._check_tower("captions")
        names, keys = pl.Series(texts, dtype=pl.String), caption_keys(texts)
        rows = WantedRows(names, keys, np.arange(len(names)) // TEXTS_TOGETHER, names)
        return self._encoded("captions", rows, CaptionReader(keys, names).read)

    def _check_tower(self, items: Modality) -> None:
        if items not in self.encoder.sides:
            raise UserError(f"Encoder family {self.encoder.config.family!r} embeds no {items}.")

    def _encoded(self, items: Modality, rows: WantedRows, read: Read) -> np.ndarray | list[np.ndarray]:
        ragged = self.encoder.row_format(items).ragged
        if not len(rows):
            return [] if ragged else np.zeros((0, self.encoder.dim), np.float32)
        values: dict[bytes, np.ndarray] = {}
        distinct = rows.part(np.flatnonzero(KeyIndex([rows.keys]).first_rows()))
        runner = LocalRunner(read, lambda: (self._tower(items), {}))
        with closing(runner.run(distinct, self._summary)) as batches:
            for batch in batches:
                for row, value in batch.results:
                    if isinstance(value, Exception):
                        raise UserError(f"{row.path}: {problem_of(value)}.") from None
                    values[row.key] = value
        found = [values[key] for key in unpack_keys(rows.keys)]
        return found if ragged else np.stack(found)

    def _tower(self, items: Modality) -> LoadedTower:
        if items not in self._towers:
            self._towers[items] = load_tower(self.encoder, items, pick_device(self._device_name))
        return self._towers[items]

    def _opened(self, clip: str | Path | Segment, kinds: dict[str, str]) -> Clip:
        """The clip of a file or segment; adds the kind of its medium to `kinds`, by digest."""
        name, *segment = clip if isinstance(clip, tuple) else (clip,)
        file = Path(name)
        try:
            medium = ingested(file, digest_memory())
            info = probe(file)
            missing = "sound track" if isinstance(self.encoder.clip_input, AudioInput) else "picture"
            if (info.audio if missing == "sound track" else info.video) is None:
                raise MediaError(f"no {missing}")
            start_s, stop_s = segment or (0.0, info.duration_s)
            if segment and info.frames:
                raise MediaError("a folder of frames has no seconds: name the whole folder, without start and stop")
            if not 0 <= start_s < stop_s <= info.duration_s:
                raise MediaError(f"no segment from {start_s} s to {stop_s} s: it lasts {info.duration_s:.3f} s")
        except Exception as error:
            raise UserError(f"{written_out(file)}: {problem_of(error)}.") from None
        if info.kind:
            kinds[medium.digest] = info.kind
        span = Span(file, medium.digest, start_s, stop_s, *(info.frames or (None, None)))
        return Clip(str(file), (span,), written_out(file))


def open_encoder(name: str, device: str | None = None, **overrides: Any) -> OpenEncoder:
    """Opens `configs/encoders/<name>.yaml` for one-off use.

    Args:
        name: of the encoder.
        device: `cpu`, `cuda`, ...
        **overrides: options that replace those of the YAML, for example `checkpoint="mine.pt"`.
    """
    return OpenEncoder(load_encoder(name, overrides), device)


def encode(
    encoder: Annotated[str, typer.Option(help="An encoder of configs/encoders/.")],
    out: Annotated[Path, typer.Option(help="NPZ file to write.")],
    audio: Annotated[list[Path] | None, typer.Option(help="A sound file; may be repeated.")] = None,
    video: Annotated[list[Path] | None, typer.Option(help="A video file; may be repeated.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="A caption; may be repeated.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Replaces the checkpoint of the YAML.")] = None,
    device: Annotated[str | None, typer.Option(envvar="HEARONCE_DEVICE", help="cpu, cuda, ...")] = None,
) -> None:
    """Embed a few files and texts without DVC and cache: arrays `audio`, `video`, `text` (n, dim) and their names.

    Rows of several frames stand one after another; `audio_offsets` and the like say where each begins.
    """
    inputs: dict[str, list[str]] = {
        "audio": [str(path) for path in audio or []],
        "video": [str(path) for path in video or []],
        "text": list(text or []),
    }
    if out.is_dir():
        raise UserError(f"{out} is a folder: name the NPZ file to write.")
    if not any(inputs.values()):
        raise UserError("Nothing to encode: give --audio, --video or --text.")
    overrides = {} if checkpoint is None else {"checkpoint": checkpoint}
    opened = open_encoder(encoder, device, **overrides)
    arrays: dict[str, np.ndarray] = {}
    for kind, names in inputs.items():
        if names:
            rows = opened.captions(names) if kind == "text" else opened.clips(names)
            if isinstance(rows, list):
                arrays[f"{kind}_offsets"] = np.cumsum([0, *map(len, rows)])
                rows = np.concatenate(rows)
            arrays[kind] = rows
            arrays[f"{kind}_names"] = np.array(names)
    with new_file(out) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    shapes = ", ".join(f"{kind} {arrays[kind].shape}" for kind in inputs if kind in arrays)
    print(f"{out}: {shapes}")
