"""One-off use, for notebooks and checks: the stages' preparation and encoding without DVC and without a cache."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from cache.durable import new_file
from cache.errors import UserError
from cache.keys import caption_key
from cache.location import Store
from pipeline.config import layout
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import MediaError
from pipeline.media.probe import probe
from pipeline.media.unchanged import digest_memory, ingested
from pipeline.monitor.device import pick_device
from pipeline.monitor.problems import problem_of, written_out
from stages.embed.clips import Clip, Span
from stages.embed.encoder import (
    AudioInput,
    AudioVideoInput,
    Encoder,
    ModalityEncoder,
    caption_tower_of,
    clip_tower_of,
)
from stages.embed.inputs import clip_reader
from stages.embed.registry import load_encoder
from stages.embed.towers import LoadedTower, load_tower

Segment = tuple[str | Path, float, float]
"""A media file, and start and stop within it in seconds."""


class OpenEncoder:
    """An encoder ready to use on files and strings.

    Args:
        encoder: from `load_encoder`.
        device: `cpu`, `cuda`, ...; a GPU where there is one by default.
        modality: of an encoder with several, which one: `audio`, `video`, `audio+video`; the last of these by default.
    """

    def __init__(self, encoder: Encoder, device: str | None = None, modality: str | None = None) -> None:
        self.encoder, self.modality = encoder, modality
        self._device_name = device
        self._towers: dict[str, LoadedTower] = {}

    def _tower(self, name: str) -> LoadedTower:
        if name not in self._towers:
            self._towers[name] = load_tower(self.encoder, name, pick_device(self._device_name))
        return self._towers[name]

    def clips(
        self, clips: Sequence[str | Path | Segment], modality: str | None = None
    ) -> np.ndarray | list[np.ndarray]:
        """Embeds videos (files or folders of frames) or audio files, whole or in part.

        Args:
            clips: files, or segments `(file, start, stop)` in seconds.
            modality: of an encoder with several, if another than that of the object.

        Returns:
            float32 array of shape (len(clips), dim); of an encoder with ragged rows a list of arrays (frames, dim).

        Raises:
            UserError: a file lacks the audio or the frames that the encoder needs, cannot be decoded, or is shorter
                than its segment; or the encoder has no tower for clips.
        """
        tower = clip_tower_of(self.encoder, modality or self.modality)
        return self._stacked([self._clip(clip, tower) for clip in clips], tower)

    def captions(self, texts: Sequence[str], batch_size: int = 1) -> np.ndarray | list[np.ndarray]:
        """Embeds texts: float32 (len(texts), dim), or a list of arrays (words, dim).

        Args:
            texts: of any number.
            batch_size: texts encoded at once; the others of a batch move a row by rounding only.

        Raises:
            UserError: the encoder has no tower for captions.
        """
        name = caption_tower_of(self.encoder, self.modality)
        tower = self._tower(name)
        rows: list[np.ndarray] = []
        for start in range(0, len(texts), batch_size):
            batch = [tower.prepare(text, caption_key(text)) for text in texts[start : start + batch_size]]
            rows.extend(tower.encode(batch))
        return self._stacked(rows, name)

    def _stacked(self, rows: list[np.ndarray], tower: str) -> np.ndarray | list[np.ndarray]:
        if self.encoder.row_format(tower).ragged:
            return rows
        return np.stack(rows) if rows else np.zeros((0, self.encoder.dim), np.float32)

    def _clip(self, clip: str | Path | Segment, tower: str) -> np.ndarray:
        name, *segment = clip if isinstance(clip, tuple) else (clip,)
        file = Path(name)
        try:
            medium = ingested(file, digest_memory())
            info = probe(file)
            clip_input = self.encoder.input_of(tower)
            if info.audio is None and isinstance(clip_input, AudioInput | AudioVideoInput):
                raise MediaError("no audio track")
            if info.video is None and not isinstance(clip_input, AudioInput):
                raise MediaError("no video track")
            start_s, stop_s = segment or (0.0, info.duration_s)
            if segment and info.frames:
                raise MediaError("a folder of frames has no seconds: name the whole folder, without start and stop")
            if not 0 <= start_s < stop_s <= info.duration_s:
                raise MediaError(f"no segment from {start_s} s to {stop_s} s: it lasts {info.duration_s:.3f} s")
            with tempfile.TemporaryDirectory() as scratch:
                store = Store(Path(scratch))
                span = Span(file, medium.digest, start_s, stop_s, *(info.frames or (None, None)))
                kinds = {span.digest: info.kind} if info.kind else {}
                reader = clip_reader(
                    clip_input,
                    [Clip(str(file), (span,), str(file))],
                    AudioStore(store, AudioSettings(), kinds),
                )
                row, item = next(iter(reader.read(reader.rows)))
            if isinstance(item, Exception):
                raise item
            loaded = self._tower(tower)
            return loaded.encode([loaded.prepare(item, row.key)])[0]
        except Exception as error:
            raise UserError(f"{written_out(file)}: {problem_of(error)}.") from None


def open_encoder(name: str, device: str | None = None, **overrides: Any) -> OpenEncoder:
    """Opens `configs/encoders/<name>.yaml` for one-off use.

    Args:
        name: of the encoder; `ENCODER@MODALITY` for one of its modalities.
        device: `cpu`, `cuda`, ...
        **overrides: options that replace those of the YAML, for example `checkpoint="mine.pt"`.
    """
    return OpenEncoder(load_encoder(name, overrides), device, layout.modality_of(name))


def encode(
    encoder: Annotated[str, typer.Option(help="An encoder of configs/encoders/.")],
    out: Annotated[Path, typer.Option(help="NPZ file to write.")],
    audio: Annotated[list[Path] | None, typer.Option(help="An audio file; may be repeated.")] = None,
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
            several = isinstance(opened.encoder, ModalityEncoder)
            rows = opened.captions(names) if kind == "text" else opened.clips(names, kind if several else None)
            if isinstance(rows, list):
                arrays[f"{kind}_offsets"] = np.cumsum([0, *map(len, rows)])
                rows = np.concatenate(rows)
            arrays[kind] = rows
            arrays[f"{kind}_names"] = np.array(names)
    with new_file(out) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    shapes = ", ".join(f"{kind} {arrays[kind].shape}" for kind in inputs if kind in arrays)
    print(f"{out}: {shapes}")
