"""Which row stores, embedding caches and answers of language models there are, and which rows the project wants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cache.answers import DESCRIPTION, SUFFIX
from cache.artifact import HDF5_SUFFIXES, Artifact, looks_like_artifact, open_artifact
from cache.digests import DAMAGED
from cache.errors import Unreadable, UserError
from cache.keys import caption_keys, clip_keys
from cache.location import DIGESTS, LocalLocation, Location, Store, location_of
from cache.row_store import RowStore
from cache.segments import STORE_FILE
from cache.tables import AUDIO, SPANS, read_table
from pipeline.config import layout
from pipeline.config.subsets import media_kinds, read_extended
from pipeline.media.length import renditions
from pipeline.monitor.run_metrics import RUNS_FILE

PARTS = {"rows", "audio", "answers", "captions", "trainings", "logs", "staging", "word-indexes"}


def is_store(path: Path | str) -> bool:
    """Whether a row store, perhaps one that has lost its store.json, lies at a path or URL."""
    return _holds_store(location_of(path))


def store_paths(root: Path | str) -> list[str]:
    """Row stores at or below a path or URL: a store itself, a folder of stores, or what `$HEARONCE_STORE` names."""
    if is_store(root):
        return [str(root)]
    for location in (location_of(root), location_of(root).child("rows")):
        found = [str(location.child(name)) for name in location.names() if _holds_store(location.child(name))]
        if found:
            return found
    return []


PARTS |= {DIGESTS, f"{DIGESTS}{DAMAGED}"}
"""What lies in the folder that `$HEARONCE_STORE` names."""


def store_root(path: str) -> str:
    """The folder of stores within a path or URL that may take more of them: where some lie, or `path` if it is empty.

    Raises:
        UserError: it holds something else, or lies in a store or an embedding cache.
    """
    stores = store_paths(path)
    if stores:
        return stores[0].rstrip("/").rsplit("/", 1)[0]
    location = location_of(path)
    names = set(location.names())
    if names - PARTS:
        raise UserError(f"{path} is no folder of row stores: name one, or a new or empty folder.")
    if isinstance(location, LocalLocation):
        for above in location.path.resolve().parents:
            if (above / STORE_FILE).exists() or (above / "zarr.json").exists():
                raise UserError(
                    f"{path} lies in {above}, which is a row store or an embedding cache: name a place outside."
                )
    return str(location.child("rows")) if names else path


def answer_paths(root: Path | str) -> list[Path]:
    """Folders of a language model's answers at or below a folder, sorted: one itself, or what the store keeps."""
    location = location_of(root)
    if not isinstance(location, LocalLocation):
        return []
    for paths in ([location.path], location.path.glob("*"), location.path.glob("answers/*")):
        found = sorted(path for path in paths if (path / DESCRIPTION).is_file() or _holds_answers(path))
        if found:
            return found
    return []


def _holds_answers(path: Path) -> bool:
    return any(file.name != RUNS_FILE for file in path.glob(f"*{SUFFIX}"))


def _holds_store(location: Location) -> bool:
    try:
        return not {STORE_FILE, "segments"}.isdisjoint(location.names())
    except Unreadable:
        return True  # who opens it learns why it cannot be read


def chosen_stores(paths: Sequence[str]) -> list[str]:
    """The stores a user named, or those of the project.

    Raises:
        UserError: there is none.
    """
    if not paths:
        found = store_paths(Store.default().rows)
        if not found:
            raise UserError(f"{Store.default().rows} holds no row store: run `dvc repro`, or name a store.")
        return found
    chosen = []
    for path in paths:
        found = store_paths(path)
        if not found:
            raise UserError(f"{path} holds no row store (a folder with a store.json): `hearonce cache ls` lists them.")
        chosen += found
    return chosen


def artifact_paths(folder: Path = layout.DATA) -> list[Path]:
    """Embedding caches below a folder, sorted."""
    found = [path for path in folder.rglob("*") if path.suffix in (".zarr", *HDF5_SUFFIXES)]
    return sorted(path for path in found if path.is_file() or looks_like_artifact(location_of(path)))


def opened(path: Path | str) -> RowStore | Artifact:
    """A row store or an embedding cache, whichever the path or URL is.

    Raises:
        UserError: neither.
    """
    return RowStore.open(path) if is_store(path) else open_artifact(path)


def wanted_keys(keep: Sequence[str]) -> dict[str, np.ndarray]:
    """Row keys, packed, per modality, that the project's tables and embedding caches ask for, and those to keep.

    Args:
        keep: further embedding caches, paths or URLs.

    Raises:
        UserError: one cannot be read.
    """
    found: dict[str, list[np.ndarray]] = {}
    for path in (*map(str, artifact_paths()), *keep):
        artifact = open_artifact(path)
        found.setdefault(str(artifact.description.get("modality")), []).append(artifact.keys)
    for modality, keys in _keys_of_tables():
        found.setdefault(modality, []).append(keys)
    joined = {modality: np.concatenate(parts) for modality, parts in found.items()}
    return {modality: keys for modality, keys in joined.items() if len(keys)}


def known_renditions(corpus: str) -> set[str]:
    """What row keys of a corpus's clips may say of how their media are read; see `cache.keys.clip_key`."""
    audio = layout.audio(corpus)
    recipes = read_table(audio, AUDIO)["recipe"].to_list() if audio.exists() else []
    return {"", *renditions(media_kinds(corpus), "video").values(), *recipes}


def _keys_of_tables() -> Iterator[tuple[str, np.ndarray]]:
    for path in sorted((layout.DATA / "tables").glob("*/captions.parquet")):
        yield "captions", caption_keys(read_extended(path.parent.name, "captions")["text"])
    for path in sorted((layout.DATA / "tables").glob("*/spans.parquet")):
        for keys in keys_of_spans(read_table(path, SPANS), known_renditions(path.parent.name)):
            yield "clips", keys


def keys_of_spans(spans: pl.DataFrame, renditions: Iterable[str]) -> Iterator[np.ndarray]:
    """Row keys, uint8 (n, 16), of the clips of a spans table, for each way to read their media."""
    stretches = spans.select(pl.struct("clip_id", "modality").rle().struct.field("len")).to_series()
    for rendition in renditions:
        yield clip_keys(spans["media_digest"], spans["start_s"], spans["stop_s"], rendition, stretches)


def encoders() -> dict[str, str]:
    """Fingerprint -> name of the encoder, as far as the project's embedding caches tell."""
    names: dict[str, str] = {}
    for path in artifact_paths():
        try:
            description: Any = open_artifact(path).description
        except UserError:
            continue
        if "encoder" in description and "fingerprint" in description:
            names.setdefault(str(description["fingerprint"]), str(description["encoder"]))
    return names
