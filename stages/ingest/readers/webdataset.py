"""Reader `webdataset`: tar files whose members `KEY.flac`, `KEY.txt` and `KEY.json` are a sample each.

A sample's key is its name up to the first dot after the last slash, as the webdataset library has it. A text file or
JSON file of exactly a medium's name belongs to that medium, one of the sample's key to all media of the sample.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from cache.digests import DigestMemory
from cache.errors import UserError
from cache.location import Store
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.console.text import counted
from pipeline.media.audio_store import AudioStore
from pipeline.media.location import open_place
from pipeline.media.tar_files import is_packed, packed_reason
from pipeline.monitor.problems import problem_of
from pipeline.monitor.progress import progress
from pipeline.monitor.threads import each_in_threads
from pipeline.remote.address import RemoteFile
from stages.ingest.annotations import Annotations, Segment
from stages.ingest.probing import opened
from stages.ingest.sample_captions import SampleCaptions, json_fields
from stages.ingest.shards import Shard, ShardReader, kinds_left_out
from stages.ingest.tables import Medium

FETCHING = 4
"""Remote shards that are fetched at the same time."""
MOST_KINDS = 6


def read(place: CorpusPlace, config: CorpusConfig, most: int | None = None) -> Annotations:
    """Reads the shards of a folder or media list.

    Args:
        place: where they lie.
        config: of the corpus.
        most: only so many shards; all by default.

    Raises:
        UserError: there are none.
    """
    media = open_place(place.media)
    found = media.shards()
    if not found:
        raise UserError(f"{media} holds no shard (.tar): correct `media:` in params.yaml, or take reader `folder`.")
    store = Store.default()
    memory = DigestMemory(store.digests)
    annotations, captions = Annotations(), SampleCaptions(config.caption_keys)
    packed = [(path, source) for path, source in found if is_packed(path)]
    annotations.faults += [(path, path, packed_reason()) for path, _ in packed]
    chosen = [one for one in found if not is_packed(one[0])][:most]
    reader = ShardReader(store.shards, memory, AudioStore(store, config.audio), config.limits)
    samples = _Samples(annotations, captions, lambda digest: opened(memory, digest, config.limits))
    remote = any(isinstance(source, RemoteFile) for _, source in chosen)
    shards: list[Shard] = []
    n_read = 0

    def read_one(one: tuple[str, Path | RemoteFile]) -> tuple[Shard, bool] | str:
        try:
            return reader.read(one[1])
        except Exception as error:  # one shard must not stop the others
            return problem_of(error)

    workers = max(os.cpu_count() or 1, FETCHING if remote else 1)
    with (
        progress("shards", len(chosen), "shards") as advance,
        each_in_threads(read_one, chosen, workers) as results,
    ):
        for (path, _), result in zip(chosen, results, strict=True):
            if isinstance(result, str):
                annotations.faults.append((path, path, result))
            else:
                shard, was_read = result
                n_read += was_read
                shards.append(shard)
                samples.add(path, shard)
            advance()
    samples.finish()
    memory.close()
    annotations.notes[:0] = [*_notes(shards, n_read), *filter(None, [captions.note("JSON key")])]
    return annotations


class _Samples:
    """Samples of all shards, one shard after another."""

    def __init__(
        self, annotations: Annotations, captions: SampleCaptions, open_: Callable[[str], Medium | str]
    ) -> None:
        self._annotations, self._captions, self._open = annotations, captions, open_
        self._shard_of: dict[str, str] = {}  # by key
        self._without: list[tuple[str, str]] = []

    def add(self, path: str, shard: Shard) -> None:
        faults = dict(shard.faults)
        texts = {_lowered(name): text for name, text in shard.texts.items()}
        fields: dict[str, dict] = {}
        for name, digest in shard.media:
            medium = Path(path, name)
            self._annotations.opened[medium] = self._open(digest) if digest else faults.pop(name)
            stem, key = name[: len(name) - len(PurePosixPath(name).suffix)], _key(name)
            captions, reasons = self._captions_of(stem, key, texts, fields, faults)
            self._annotations.segments.append(Segment(medium, captions))
            self._annotations.faults += [(medium.as_posix(), medium.as_posix(), reason) for reason in reasons]
            if not captions and not reasons and digest:
                self._without.append((medium.as_posix(), key))
            self._note_key(key, path, medium)
        self._annotations.faults += [(f"{path}/{name}", f"{path}/{name}", reason) for name, reason in faults.items()]
        if shard.cut:
            self._annotations.faults.append((path, path, shard.cut))

    def _captions_of(
        self, stem: str, key: str, texts: dict[str, str], fields: dict[str, dict], faults: dict[str, str]
    ) -> tuple[tuple[str, ...], list[str]]:
        text = next((texts[name] for name in (f"{stem}.txt", f"{key}.txt") if name in texts), None)
        for name in (f"{stem}.json", f"{key}.json"):
            if name in texts and name not in fields:
                try:
                    fields[name] = json_fields(texts[name])
                except ValueError as error:
                    fields[name] = {}
                    faults.setdefault(name, str(error))
            if name in fields:
                return self._captions.of(text, fields[name])
        return self._captions.of(text, {})

    def _note_key(self, key: str, path: str, medium: Path) -> None:
        first = self._shard_of.setdefault(key, path)
        if first != path:
            reason = f"its key {key!r} is in {first} and in {path}: both are used, as clips of their own"
            self._annotations.faults.append((medium.as_posix(), medium.as_posix(), reason))

    def finish(self) -> None:
        """Reports media without captions: one by one where others have some."""
        if any(segment.captions for segment in self._annotations.segments):
            self._annotations.faults += [
                (path, path, f"has no caption: its sample {key!r} has none in {self._searched()}")
                for path, key in self._without
            ]
        elif self._without:
            seen = ", ".join(repr(key) for key, _ in self._captions.unused.most_common(5))
            hint = f"; JSON keys with text are {seen}: name one in `caption_keys`" if seen else ""
            self._annotations.notes.append(f"no medium has a caption in {self._searched()}{hint}")

    def _searched(self) -> str:
        keys = self._captions.keys
        named = [*([".txt"] if "txt" in keys else []), *(f"`{key}`" for key in keys if key != "txt")]
        return ", ".join(named)


def _key(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"


def _lowered(name: str) -> str:
    """With its ending in small letters."""
    suffix = PurePosixPath(name).suffix
    return name[: len(name) - len(suffix)] + suffix.lower()


def _notes(shards: Sequence[Shard], n_read: int) -> list[str]:
    notes = [f"{counted(len(shards), 'shard')}, {n_read} read, {len(shards) - n_read} unchanged"]
    if kinds := kinds_left_out(shards):
        named = [f"{count} {kind}" for kind, count in list(kinds.items())[:MOST_KINDS]]
        if rest := sum(list(kinds.values())[MOST_KINDS:]):
            named.append(f"{rest} of other kinds")
        notes.append(f"{counted(sum(kinds.values()), 'member')} left out: {', '.join(named)}")
    return notes
