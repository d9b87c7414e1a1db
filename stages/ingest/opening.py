"""Opens each medium of a corpus once: its digest, what it holds and, if it had to be fetched, its sound."""

from __future__ import annotations

from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cache.digests import DigestMemory
from pipeline.audio_store import AudioStore
from pipeline.media.errors import MediaError
from pipeline.media.limits import DEFAULT, Limits
from pipeline.media.probe import probe, recalled, remember, within
from pipeline.media.unchanged import ingested
from pipeline.media_place import MediaPlace
from pipeline.remote.address import RemoteFile
from pipeline.remote.staging import Staging, resolved
from stages.ingest.tables import Medium


@dataclass(frozen=True)
class Opener:
    """Opens the media of a corpus; may be used by many threads.

    Attributes:
        place: where they lie.
        memory: remembers digests, and what the bytes of a digest hold, so that they are read through once.
        audio: where the sound of a remote medium goes while it is here, so that it need not be fetched again for it.
        heard: media whose sound belongs to a clip.
        limits: what a medium may claim to be.
    """

    place: MediaPlace
    memory: DigestMemory
    audio: AudioStore
    heard: Set[Path]
    limits: Limits = DEFAULT

    def open(self, path: Path) -> Medium:
        """Digest and headers of one medium. A remote one is fetched only if it is new or has changed.

        Raises:
            MediaError: it cannot be had, or is no medium.
            OSError: it cannot be read.
            UserError: it cannot be staged.
        """
        source = self.place.source(path.as_posix())
        if isinstance(source, Path):
            medium = ingested(source, self.memory)
            info = recalled(self.memory, medium.digest)
            if info is None:
                info = probe(source, self.limits)
                medium.check()
                if info.frames and (first := medium.pictures(info.frames[:1], clamp=False)):
                    first.check(info.frames[0])
                remember(self.memory, medium.digest, info)
            return Medium(medium.digest, within(info, self.limits))
        return self._remote(resolved(source), path in self.heard)

    def _remote(self, source: RemoteFile, heard: bool) -> Medium:
        digest = self.memory.recall(source.identity, source.size, source.version) if source.version else None
        known = recalled(self.memory, digest) if digest else None
        if digest and known:
            return Medium(digest, within(known, self.limits))
        with Staging.default(self.memory).held(source) as staged:
            info = recalled(self.memory, staged.digest) or probe(staged.path, self.limits)
            remember(self.memory, staged.digest, info)
            if heard and info.audio is not None:
                if info.kind:
                    self.audio.kinds[staged.digest] = info.kind
                with suppress(MediaError):  # the next stage says so
                    self.audio.ensure(staged.digest, staged.path)
            return Medium(staged.digest, info)
