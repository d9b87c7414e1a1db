"""Reader `huggingface`: datasets with an `Audio` or `Video` column, a folder of Arrow or Parquet files or on the hub.

Captions are columns of the same rows. Splits are subsets of the corpus, by the paths of their media.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.digests import DigestMemory, stamp_of
from cache.errors import UserError
from cache.location import Store
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.console.text import counted, did_you_mean
from pipeline.media.audio_store import AudioStore
from pipeline.media.dataset_rows import Row, bytes_of, media_columns, name_of, open_dataset, row_path
from pipeline.media.location import open_place
from pipeline.monitor.problems import problem_of
from pipeline.monitor.progress import progress
from pipeline.monitor.signals import check
from pipeline.remote.address import is_url
from stages.ingest.annotations import Annotations, Segment
from stages.ingest.probing import Prober, opened
from stages.ingest.sample_captions import TXT, SampleCaptions
from stages.ingest.shards import Shard, recalled_shard, remember_shard

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]

SHOWN = 20
"""Columns in a message."""


def read(place: CorpusPlace, config: CorpusConfig, most: int | None = None) -> Annotations:
    """Reads the rows of a dataset.

    Args:
        place: its folder, or a media list with one `hf://datasets/...` URL.
        config: of the corpus.
        most: only so many rows of each split; all by default.

    Raises:
        UserError: there is no dataset, it cannot be opened, or it has no media column or not the captions that
            `caption_keys` names.
    """
    media = open_place(place.media)
    dataset = media.dataset()
    if dataset is None:
        raise UserError(f"{media} is no Hugging Face dataset (Parquet files, or a folder of `save_to_disk`).")
    splits = open_dataset(dataset)
    column = media_column(splits, config.media_column, dataset)
    keys = _caption_columns(splits, config.caption_keys, column, dataset)
    store = Store.default()
    memory = DigestMemory(store.digests)
    annotations, captions, without = Annotations(), SampleCaptions(keys), list[str]()
    audio = AudioStore(store, config.audio) if is_url(dataset) else None
    n_read = 0
    for name, split in splits.items():
        chosen = split if most is None else split.select(range(min(most, len(split))))
        shard, was_read = _split(dataset, name, chosen, column, config, memory, audio, most is None)
        n_read += was_read
        texts = chosen.select_columns([key for key in keys if key in chosen.column_names])
        for row, (file, digest) in enumerate(shard.media):
            path = Path(row_path(name, row, column, file))
            annotations.opened[path] = opened(memory, digest, config.limits) if digest else shard.faults[str(row)]
            found, reasons = captions.of(None, texts[row] if texts.column_names else {})
            annotations.segments.append(Segment(path, found))
            annotations.faults += [(path.as_posix(), path.as_posix(), reason) for reason in reasons]
            if not found and not reasons and digest:
                without.append(path.as_posix())
    memory.close()
    named = ", ".join(f"{name} {len(split)}" for name, split in splits.items())
    how = f"{n_read} read, {len(splits) - n_read} unchanged"
    annotations.notes.append(f"{counted(len(splits), 'split')} ({named}), {how}")
    annotations.notes += filter(None, [captions.note("column")])
    _say_without(annotations, captions, without, splits)
    return annotations


def media_column(splits: dict[str, Dataset] | Any, wanted: str, dataset: str) -> str:
    """The column with the media.

    Args:
        splits: of the dataset.
        wanted: its name, or empty for the only `Audio` or `Video` column.
        dataset: for messages.

    Raises:
        UserError: there is none, or it is not clear which.
    """
    split = next(iter(splits.values()))
    columns = media_columns(split)
    if wanted:
        if wanted not in split.column_names:
            meant = did_you_mean(wanted, split.column_names)
            raise UserError(f"{dataset} has no column {wanted!r}, as `media_column` says: {meant}")
        return wanted
    if not columns:
        listed = ", ".join(f"{name} ({_kind(split, name)})" for name in split.column_names[:SHOWN])
        raise UserError(
            f"{dataset} has no Audio or Video column: it has {listed}. If one holds `bytes` of media, name it as "
            "`media_column` in the corpus config."
        )
    if len(columns) > 1:
        raise UserError(f"{dataset} has several media columns ({', '.join(columns)}): name one as `media_column`.")
    return columns[0]


def _kind(split: Dataset, column: str) -> str:
    feature = split.features[column]
    return str(getattr(feature, "dtype", type(feature).__name__))


def _caption_columns(splits: Any, wanted: Sequence[str], column: str, dataset: str) -> list[str]:
    names = list(dict.fromkeys(name for split in splits.values() for name in split.column_names if name != column))
    for name in wanted:
        if name not in names:
            raise UserError(f"{dataset} has no column {name!r}, as `caption_keys` says: {did_you_mean(name, names)}")
    return list(wanted) or [key for key in SampleCaptions().keys if key in names and key != TXT]


def _split(
    dataset: str,
    name: str,
    split: Dataset,
    column: str,
    config: CorpusConfig,
    memory: DigestMemory,
    audio: AudioStore | None,
    remembered: bool,
) -> tuple[Shard, bool]:
    """Digests and headers of the media of a split, and whether it had to be read for them."""
    folder = Store.default().shards
    identity = f"{dataset if is_url(dataset) else Path(dataset).absolute()} {name} {column}"
    version = f"{config.limits} {_version(split)}" if remembered and _version(split) else ""
    known = recalled_shard(folder, identity, version, memory)
    if known is not None and len(known.media) == len(split):
        return known, False
    shard, rows = Shard(), split.select_columns([column])
    with Prober(memory, config.limits, audio) as prober, progress(f"split {name}", len(rows)) as advance:
        for row in range(len(rows)):
            check()
            value = rows[row][column]
            file, digest = name_of(value, row), ""
            try:
                digest = prober.of_bytes(bytes_of(value, dataset), Row(dataset, name, row, column, file))
            except Exception as error:  # one row must not stop the others
                shard.faults[str(row)] = problem_of(error)
            shard.media.append((file, digest))
            if not isinstance(value, dict) or value.get("bytes") is None:
                version = ""  # a file beside the dataset may change without it
            advance()
    remember_shard(folder, identity, version, shard)
    return shard, True


def _version(split: Dataset) -> str:
    """What changes when the files of a split do; empty if that is not known."""
    try:
        stamps = [(Path(file["filename"]).name, *stamp_of(file["filename"])) for file in split.cache_files]
    except OSError:
        return ""
    return f"{stamps} {len(split)}" if stamps else ""


def _say_without(annotations: Annotations, captions: SampleCaptions, without: list[str], splits: Any) -> None:
    where = ", ".join(f"`{key}`" for key in captions.keys)
    if any(segment.captions for segment in annotations.segments):
        annotations.faults += [(path, path, f"has no caption in {where}") for path in without]
    elif without:
        names = ", ".join(next(iter(splits.values())).column_names[:SHOWN])
        annotations.notes.append(f"no caption in {where}; columns are {names}: name one in `caption_keys`")
