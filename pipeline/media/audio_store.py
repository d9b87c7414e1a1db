"""Extracted audio tracks, addressed by the bytes they came from: each is made once for all corpora and runs.

What was written is what is read: a record beside each FLAC file has checksums of its blocks, and what does not fit is
extracted again. A file of an older version, without checksums, is extracted again as well.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from cache.digests import stamp_of
from cache.durable import clean_abandoned, make_folder, new_file
from cache.errors import DamageError
from cache.json_documents import CHECKSUM, seal, unseal
from cache.location import Store
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio import AudioFile, extract_audio, read_audio
from pipeline.media.containers import MediaError
from pipeline.media.flac import BLOCK_BYTES, CheckedFile, checksums
from pipeline.media.length import rendition
from pipeline.media.location import Source, held
from pipeline.media.unchanged import digest_memory
from pipeline.monitor.events import event

SCHEMA = 2
"""Of the JSON file; the first one had no checksums."""
OF_OLDER_VERSION = "was extracted by an older version, without checksums"


class NoRecord(Exception):
    """There is no record that can be trusted, with the reason, or None where there is none at all."""


@dataclass(frozen=True)
class AudioRecord:
    """An extracted audio track as it was written.

    Attributes:
        digest: of the medium it is of.
        recipe: how it was extracted.
        audio: rate, channels, length.
        nbytes: of the FLAC file.
        crc32c: of each block of the FLAC file, see `pipeline.media.flac.checksums`.
    """

    digest: str
    recipe: str
    audio: AudioFile
    nbytes: int
    crc32c: str

    @classmethod
    def of(cls, flac: Path, digest: str, recipe: str, audio: AudioFile) -> AudioRecord:
        """The record of a FLAC file that has just been written.

        Raises:
            MediaError: its header does not say what was written.
        """
        with soundfile.SoundFile(flac) as file:
            if (file.samplerate, file.channels, file.frames) != (audio.sample_rate, audio.channels, audio.n_samples):
                raise MediaError("the FLAC file was not written as it should be")
        return cls(digest, recipe, audio, flac.stat().st_size, checksums(flac))

    def write(self, path: Path) -> None:
        """Writes the JSON file.

        Raises:
            UserError: the disk is full or read-only.
        """
        document = {
            "schema": SCHEMA,
            "digest": self.digest,
            "recipe": self.recipe,
            "audio": asdict(self.audio),
            "nbytes": self.nbytes,
            "block_bytes": BLOCK_BYTES,
            "crc32c": self.crc32c,
            CHECKSUM: "00000000",
        }
        with new_file(path, clean=False) as temporary:
            temporary.write_bytes(seal(document))


def read_record(path: Path, digest: str, recipe: str) -> AudioRecord:
    """Reads the JSON file beside an extracted audio track.

    Args:
        path: of the JSON file.
        digest: of the medium that it must be of.
        recipe: by which it must have been extracted.

    Raises:
        NoRecord: it is missing, damaged, of something else, or of an older version.
    """
    try:
        status = os.stat(path)
        record = _parsed(path, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    except FileNotFoundError:
        raise NoRecord("is missing") from None
    except OSError as error:
        raise NoRecord(f"cannot be read ({error.strerror})") from error
    except DamageError:
        raise NoRecord(_why(path)) from None
    except (TypeError, KeyError, ValueError) as error:
        raise NoRecord("was written by another version of hearonce") from error
    if (record.digest, record.recipe) != (digest, recipe):
        raise NoRecord("is that of another file")
    return record


@lru_cache(256)
def _parsed(path: Path, _: Any) -> AudioRecord:
    found = unseal(path.read_bytes(), path.name)
    if (found["schema"], found["block_bytes"]) != (SCHEMA, BLOCK_BYTES):
        raise ValueError
    return AudioRecord(
        found["digest"], found["recipe"], AudioFile(**found["audio"]), found["nbytes"], str(found["crc32c"])
    )


def _why(path: Path) -> str:
    """Tells a damaged record from one of an older version, which had four plain values on one line."""
    try:
        older = path.read_bytes().startswith(b'{"sample_rate": ')
    except OSError:
        older = False
    return OF_OLDER_VERSION if older else "does not match its checksum"


VERSION = 1

_locks = [threading.Lock() for _ in range(64)]
"""A thread extracts while others that want the same file wait; one lock serves several files."""


def recipe(settings: AudioSettings, kind: str = "") -> str:
    """Names how audio tracks are extracted; part of the row keys of the encoders that read them.

    Args:
        settings: of the corpus.
        kind: of the medium, if it is one that was once read wrongly: see `pipeline.media.length`.
    """
    special = rendition(kind, "audio")
    return f"flac{settings.bits}-{settings.channels}-{VERSION}" + (f"-{special}" if special else "")


class _Damaged(Exception):
    """A FLAC file is not what was written.

    Attributes:
        version: of the file, None if there is none.
    """

    def __init__(self, reason: str, version: tuple[int, int] | None) -> None:
        super().__init__(reason)
        self.version = version


class AudioStore:
    """FLAC files named by the digest of their source, each with its record beside it.

    Args:
        store: whose `audio` folder is used.
        settings: how audio tracks are extracted.
        kinds: of the media that have one, by digest: `pipeline.config.subsets.media_kinds`.

    Attributes:
        folder: of all files made in this way, but for those of media of a kind, which have folders beside it.
        differing: digests of files that an older version had extracted, and from which the medium gives other audio.
    """

    def __init__(self, store: Store, settings: AudioSettings, kinds: Mapping[str, str] | None = None) -> None:
        self.settings = settings
        self.kinds = dict(kinds or {})
        self.folder = store.audio / recipe(settings)
        self.differing: set[str] = set()
        self._cleaned: set[Path] = set()

    def recipe(self, digest: str) -> str:
        """How the audio track of a source is extracted; see `recipe`."""
        return recipe(self.settings, self.kinds.get(digest, ""))

    def path(self, digest: str) -> Path:
        """Where the FLAC file of a source lies."""
        return self.folder.with_name(self.recipe(digest)) / digest[:2] / f"{digest}.flac"

    def find(self, digest: str) -> AudioFile | None:
        """The extracted file; None if it is not there yet, or its record or size show that it is not what was written.

        Its bytes are checked when they are read, or by `intact`.
        """
        record = self._record(digest)
        return None if record is None else record.audio

    def intact(self, digest: str) -> bool:
        """Whether all bytes of an extracted file are those that were written; read only if it is new to this machine.

        Raises:
            UserError: the store is not there.
        """
        record, path = self._record(digest), self.path(digest)
        if record is None:
            return False
        kind, memory = f"checked {os.path.abspath(path)}", digest_memory()
        try:
            stamp = repr(tuple(stamp_of(path)))
            if memory.recall_facts(digest, kind) == stamp:
                return True
            with CheckedFile(path, record.nbytes, record.crc32c) as file:
                if file.check():
                    return False
        except OSError:
            return False
        memory.remember_facts(digest, kind, stamp)
        return True

    def checked(self, digest: str) -> AudioFile | None:
        """As `find`, but None also if a byte of the file is wrong; see `intact`."""
        found = self.find(digest)
        return found if found is not None and self.intact(digest) else None

    def ensure(self, digest: str, source: Source) -> AudioFile:
        """Extracts the audio track unless that has been done.

        Args:
            digest: of the source's bytes.
            source: the media file; a remote one is fetched if need be.

        Raises:
            MediaError: there is no audio track, it cannot be decoded or fetched, or the source has other bytes.
        """
        return self.find(digest) or self._extract(digest, source)

    def repaired(self, digest: str, source: Source) -> AudioFile:
        """As `ensure`, but every byte of an extracted file is checked (see `intact`).

        Raises:
            MediaError: as of `ensure`.
        """
        return self.checked(digest) or self._extract(digest, source, self._version(digest))

    def read(
        self, digest: str, source: Source | Callable[[], Source], start_s: float, stop_s: float, sample_rate: int | None
    ) -> NDArray[np.float32]:
        """Reads a clip as `read_audio` does; a audio track that is missing or damaged is extracted first.

        Args:
            digest: of the source's bytes.
            source: the media file, or what finds it if it is needed.
            start_s: start of the clip.
            stop_s: end of the clip.
            sample_rate: of the result; None for that of the file.

        Returns:
            float32 (n,).

        Raises:
            MediaError: the clip lies outside the file, or the file is damaged and cannot be extracted.
        """
        if self.find(digest) is None:
            self._extract(digest, source() if callable(source) else source)
        try:
            return self._read(digest, start_s, stop_s, sample_rate)
        except _Damaged as damage:
            event("extracted audio is damaged", logging.WARNING, path=str(self.path(digest)), reason=str(damage))
            try:
                self._extract(digest, source() if callable(source) else source, damage.version)
                return self._read(digest, start_s, stop_s, sample_rate)
            except (MediaError, _Damaged) as error:
                raise MediaError(
                    f"its extracted audio is damaged ({self.path(digest)} {damage}) and cannot be made again: {error}; "
                    "bring the medium back and run `dvc repro` again"
                ) from error

    def _record(self, digest: str) -> AudioRecord | None:
        path = self.path(digest)
        try:
            record = read_record(path.with_suffix(".json"), digest, self.recipe(digest))
            return record if path.stat().st_size == record.nbytes else None
        except (NoRecord, OSError):
            return None

    def _version(self, digest: str) -> tuple[int, int] | None:
        try:
            status = self.path(digest).stat()
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns

    def _read(self, digest: str, start_s: float, stop_s: float, sample_rate: int | None) -> NDArray[np.float32]:
        record, path = self._record(digest), self.path(digest)
        if record is None:
            raise _Damaged("has lost its record", None)
        try:
            file = CheckedFile(path, record.nbytes, record.crc32c)
        except OSError as error:
            raise _Damaged(f"cannot be read ({error.strerror})", None) from error
        with file:
            try:
                samples = read_audio(file, start_s, stop_s, sample_rate)
            except MediaError as error:
                if file.fault or isinstance(error.__cause__, soundfile.LibsndfileError):
                    raise _Damaged(file.fault or str(error), file.version) from error
                raise
            if file.fault:
                raise _Damaged(file.fault, file.version)
            return samples

    def _extract(self, digest: str, source: Source, damaged: tuple[int, int] | None = None) -> AudioFile:
        """Extracts a audio track, unless another thread or process has done so since it was missing or damaged."""
        path = self.path(digest)
        with _locks[hash(path) % len(_locks)]:
            found = self.find(digest)
            if found is not None and self._version(digest) != damaged:
                return found
            make_folder(path.parent)
            if path.parent not in self._cleaned:
                self._cleaned.add(path.parent)
                clean_abandoned(path.parent)
            older = self._older(digest)
            try:
                return self._extracted(digest, source, older)
            except MediaError as error:
                if not older:
                    raise
                raise MediaError(
                    f"its extracted audio is of an older version, without checksums, and cannot be checked: {error}; "
                    "bring the medium back and run `dvc repro` again"
                ) from error

    def _extracted(self, digest: str, source: Source, older: bool) -> AudioFile:
        path = self.path(digest)
        with held(source, digest) as medium:
            with new_file(path, clean=False) as temporary:
                made = extract_audio(medium.path, temporary, channels=self.settings.channels, bits=self.settings.bits)
                medium.check()
                record = AudioRecord.of(temporary, digest, self.recipe(digest), made)
                if older and not _same_audio(path, temporary, record):
                    self.differing.add(digest)
                    event("an older version had extracted other audio", logging.WARNING, path=str(path))
            record.write(path.with_suffix(".json"))
        return made

    def _older(self, digest: str) -> bool:
        """Whether a file was extracted by a version that wrote no checksums."""
        path = self.path(digest)
        try:
            read_record(path.with_suffix(".json"), digest, self.recipe(digest))
        except NoRecord as error:
            return str(error) == OF_OLDER_VERSION and path.is_file()
        return False


ROUNDING = 1 << 20
"""Decoders of other versions and machines give samples that differ by so much of 2^31: 16 steps of 16 bits."""


def _same_audio(earlier: Path, made: Path, record: AudioRecord) -> bool:
    """Whether two FLAC files hold the same audio; libraries of another version may round and pack it otherwise."""
    try:
        with CheckedFile(earlier, record.nbytes, record.crc32c) as file:
            if not file.check():
                return True
        with soundfile.SoundFile(earlier) as first, soundfile.SoundFile(made) as second:
            if (first.samplerate, first.channels, first.frames) != (second.samplerate, second.channels, second.frames):
                return False
            blocks = zip(*(file.blocks(1 << 16, dtype="int32") for file in (first, second)), strict=True)
            return all(np.abs(one.astype(np.int64) - other).max(initial=0) <= ROUNDING for one, other in blocks)
    except (OSError, ValueError, soundfile.LibsndfileError):
        return False
