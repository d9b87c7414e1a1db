"""Digest and headers of media that come as bytes out of other files, each written to a file only if it is new."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType

from cache.digests import DIGEST_BYTES, DigestMemory
from cache.errors import writing
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import Limits, MediaError
from pipeline.media.members import Packed, scratch_folder
from pipeline.media.probe import FACTS, MediaInfo, facts_of, probe, recalled, within
from stages.ingest.tables import Medium

TOGETHER = 200
"""Media whose headers are remembered at once."""


class Prober:
    """Probes packed media one after another, in one thread; what it found is remembered when its block ends.

    Args:
        memory: remembers what the bytes of a digest hold.
        limits: what a medium may claim to be.
        audio: gets the audio of the media, if given.
    """

    def __init__(self, memory: DigestMemory, limits: Limits, audio: AudioStore | None = None) -> None:
        self._memory, self._limits, self._audio = memory, limits, audio
        self._scratch = scratch_folder()
        self._found: dict[str, str] = {}

    def __enter__(self) -> Prober:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remember()

    def of_bytes(self, data: bytes, medium: Packed) -> str:
        """The digest of a medium of which all bytes are at hand.

        Raises:
            MediaError: it is no medium.
        """
        digest = hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()
        if self._is_known(digest):
            return digest

        def write(copy: Path) -> str:
            with writing(copy), open(copy, "wb") as file:
                file.write(data)
            return digest

        return self.of_copy(write, medium)

    def of_copy(self, write: Callable[[Path], str], medium: Packed) -> str:
        """The digest of a medium.

        Args:
            write: writes it into a new file and returns the digest.
            medium: the same.

        Raises:
            MediaError: it is no medium, or cannot be had.
        """
        self._scratch.mkdir(parents=True, exist_ok=True)  # the staging folder may be deleted at any time
        copy = self._scratch / f"new-{threading.get_ident()}{PurePosixPath(medium.name).suffix.lower()}"
        try:
            digest = write(copy)
            info = recalled(self._memory, digest)
            if info is None:
                info = probe(copy, self._limits)
                self._found[digest] = facts_of(info)
                if len(self._found) == TOGETHER:
                    self._remember()
            self._extract(digest, info, medium)
            return digest
        finally:
            copy.unlink(missing_ok=True)  # a file that is written over is flushed to the disk, one that goes is not

    def _is_known(self, digest: str) -> bool:
        info = recalled(self._memory, digest)
        if info is None:
            return False
        return self._audio is None or info.audio is None or self._audio.find(digest) is not None

    def _extract(self, digest: str, info: MediaInfo, medium: Packed) -> None:
        if self._audio is None or info.audio is None:
            return
        if info.kind:
            self._audio.kinds[digest] = info.kind
        with suppress(MediaError):  # extract_audio reports it
            self._audio.ensure(digest, medium)

    def _remember(self) -> None:
        self._memory.remember_all_facts(FACTS, self._found)
        self._found.clear()


def opened(memory: DigestMemory, digest: str, limits: Limits) -> Medium | str:
    """A medium that has been probed, or why it cannot be used."""
    info = recalled(memory, digest)
    if info is None:
        return "cannot be read"
    try:
        return Medium(digest, within(info, limits))
    except MediaError as error:
        return str(error)
