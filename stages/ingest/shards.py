"""Shards read from front to back, once: digest and headers of each medium in them, and the texts beside the media.

What a shard holds is remembered under its size, times and inode, or its ETag, so that a later ingest reads only shards
that are new or have changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from cache.digests import DigestMemory, stamp_of
from cache.durable import new_file
from cache.errors import UserError
from pipeline.formats.text import DEFAULT_MB, PER_MEDIUM, decode
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import SUFFIXES, Limits, MediaError
from pipeline.media.members import Member, copy_out
from pipeline.media.probe import FACTS, recalled
from pipeline.media.tar_files import Entry, entries, open_tar
from pipeline.monitor.problems import problem_of
from pipeline.monitor.signals import check
from pipeline.remote.address import RemoteFile
from pipeline.remote.staging import Staging, resolved
from stages.ingest.probing import Prober

SCHEMA = 1
"""Of what is remembered of a shard; to be raised when it is read in another way."""
TEXTS = (".txt", ".json")
MOST_TEXT_BYTES = (DEFAULT_MB << 20) // PER_MEDIUM
IN_MEMORY = 32 << 20
"""A larger member is copied before it is digested."""


@dataclass
class Shard:
    """What a shard holds.

    Attributes:
        media: (name, digest) in the shard's order; an empty digest stands for a member that cannot be read.
        faults: why a member cannot be used, by its name; media, texts and others.
        texts: contents of text files and JSON files by their names.
        left_out: how many members of each other kind there are, by ending.
        cut: why the shard could not be read to its end; empty if it could.
    """

    media: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    cut: str = ""


class ShardReader:
    """Reads shards; may be used by many threads.

    Args:
        folder: where what shards hold is remembered.
        memory: remembers what the bytes of a digest hold.
        audio: gets the audio of members of remote shards while they are here, so that they need not be fetched again.
        limits: what a medium may claim to be.
    """

    def __init__(self, folder: Path, memory: DigestMemory, audio: AudioStore, limits: Limits) -> None:
        self._folder, self._memory, self._audio, self._limits = folder, memory, audio, limits

    def read(self, source: Path | RemoteFile) -> tuple[Shard, bool]:
        """What a shard holds, and whether it had to be read for that.

        Raises:
            MediaError: it cannot be had, or changes meanwhile.
            OSError: it cannot be read.
            UserError: the disk is full.
        """
        if isinstance(source, Path):
            identity, version = str(source.absolute()), " ".join(map(str, stamp_of(source)))
        else:
            source = resolved(source)
            identity, version = source.identity, f"{source.size} {source.version}" if source.version else ""
        version = f"{self._limits} {version}" if version else ""
        known = recalled_shard(self._folder, identity, version, self._memory)
        if known is not None:
            return known, False
        if isinstance(source, Path):
            before = stamp_of(source)
            shard = self._pass(source, remote=False)
            if stamp_of(source) != before:
                raise MediaError("has changed while it was being read: run `dvc repro` again when it is whole")
        else:
            with Staging.default(self._memory).held(source) as staged:
                shard = self._pass(staged.path, remote=True)
        remember_shard(self._folder, identity, version, shard)
        return shard, True

    def _pass(self, path: Path, remote: bool) -> Shard:
        with open_tar(path) as file, Prober(self._memory, self._limits, self._audio if remote else None) as prober:
            one = _Pass(file, path, prober)
            try:
                for entry in entries(file):
                    check()
                    one.take(entry)
            except MediaError as error:
                one.shard.cut = str(error)
        return one.shard


class _Pass:
    """One way through a shard.

    Args:
        file: the shard.
        path: the same.
        prober: of its media.
    """

    def __init__(self, file: BinaryIO, path: Path, prober: Prober) -> None:
        self.shard = Shard()
        self._file, self._path, self._prober = file, path, prober
        self._seen: set[str] = set()

    def take(self, entry: Entry) -> None:
        """Adds a member to the shard."""
        name, shard = entry.name, self.shard
        ending = PurePosixPath(name).suffix.lower()
        if ending not in SUFFIXES and ending not in TEXTS:
            kind = ending if ending.isprintable() and ending else "without an ending"
            shard.left_out[kind] = shard.left_out.get(kind, 0) + 1
        elif name in self._seen:
            shard.faults.setdefault(name, "is in its shard twice: the first one is used")
        elif entry.fault:
            shard.faults[name] = entry.fault
        elif ending in TEXTS:
            if entry.size > MOST_TEXT_BYTES:
                shard.faults[name] = f"has {entry.size} bytes, which is no size of a text"
            else:
                _take_text(name, self._bytes(entry), shard)
        else:
            try:
                shard.media.append((name, self._digest(entry)))
            except Exception as error:  # one member must not stop the others
                shard.media.append((name, ""))
                shard.faults[name] = problem_of(error)
        self._seen.add(name)

    def _bytes(self, entry: Entry) -> bytes:
        self._file.seek(entry.offset)
        return self._file.read(entry.size)

    def _digest(self, entry: Entry) -> str:
        """The digest of a medium whose headers are remembered then.

        Raises:
            MediaError: it is no medium.
        """
        member = Member(self._path, entry.name)
        if entry.size <= IN_MEMORY:
            return self._prober.of_bytes(self._bytes(entry), member)
        return self._prober.of_copy(lambda copy: copy_out(self._path, entry.offset, entry.size, copy), member)


def _take_text(name: str, data: bytes, shard: Shard) -> None:
    try:
        shard.texts[name] = decode(data, Path(name), "text").text
    except UserError as error:
        shard.faults[name] = str(error).removeprefix(f"The text {name} ")


def remember_shard(folder: Path, identity: str, version: str, shard: Shard) -> None:
    """Keeps what a shard holds.

    Args:
        folder: of what is remembered.
        identity: names the shard.
        version: changes when the shard does; nothing is kept if it is empty.
        shard: what it holds.
    """
    if version:
        document = json.dumps({"version": _full(version), **asdict(shard)}).encode()
        with new_file(_path_in(folder, identity)) as temporary:
            temporary.write_bytes(zlib.compress(document, 1))


def recalled_shard(folder: Path, identity: str, version: str, memory: DigestMemory) -> Shard | None:
    """What was found in this version of a shard; None if that, or a header, is not known, or damaged.

    Arguments as of `remember_shard`; zlib has a checksum.
    """
    if not version:
        return None
    try:
        found: dict[str, Any] = json.loads(zlib.decompress(_path_in(folder, identity).read_bytes()))
        if found.pop("version") != _full(version):
            return None
        shard = Shard(**found)
        shard.media = [(name, digest) for name, digest in shard.media]
    except (OSError, ValueError, TypeError, KeyError, zlib.error):
        return None
    return shard if all(not digest or recalled(memory, digest) for _, digest in shard.media) else None


def _path_in(folder: Path, identity: str) -> Path:
    return folder / hashlib.blake2b(os.fsencode(identity), digest_size=16).hexdigest()


def _full(version: str) -> str:
    return f"{SCHEMA} {FACTS} {version}"


def kinds_left_out(shards: Iterable[Shard]) -> dict[str, int]:
    """How many members of each kind no shard's reader takes, the most frequent first."""
    counts: dict[str, int] = {}
    for shard in shards:
        for kind, count in shard.left_out.items():
            counts[kind] = counts.get(kind, 0) + count
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))
