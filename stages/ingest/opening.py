"""Opens each medium of a corpus once: its digest, what its headers say and, if it had to be fetched, its sound."""

from __future__ import annotations

import json
from collections.abc import Set
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cache.digests import DigestMemory
from pipeline.audio_store import AudioStore
from pipeline.media.errors import MediaError
from pipeline.media.probe import AudioTrack, MediaInfo, VideoTrack, probe
from pipeline.media.unchanged import ingested
from pipeline.media_place import MediaPlace
from pipeline.remote.address import RemoteFile
from pipeline.remote.staging import Staging, resolved
from stages.ingest.tables import Medium

PROBE_VERSION = "probe 1"
"""To be raised when `probe` finds out more, or other things."""


@dataclass(frozen=True)
class Opener:
    """Opens the media of a corpus; may be used by many threads.

    Attributes:
        place: where they lie.
        memory: remembers digests, and headers of remote media.
        audio: where the sound of a remote medium goes while it is here, so that it need not be fetched again for it.
        heard: media whose sound belongs to a clip.
    """

    place: MediaPlace
    memory: DigestMemory
    audio: AudioStore
    heard: Set[Path]

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
            info = probe(source)
            medium.check()
            if info.frames and (first := medium.pictures(info.frames[:1], clamp=False)):
                first.check(info.frames[0])
            return Medium(medium.digest, info)
        return self._remote(resolved(source), path in self.heard)

    def _remote(self, source: RemoteFile, heard: bool) -> Medium:
        known = self.memory.recall(source.identity, source.size, source.version) if source.version else None
        text = self.memory.recall_facts(known, PROBE_VERSION) if known else None
        if known and text:
            return Medium(known, _info(text))
        with Staging.default(self.memory).held(source) as staged:
            info = probe(staged.path)
            self.memory.remember_facts(staged.digest, PROBE_VERSION, json.dumps(asdict(info)))
            if heard and info.audio is not None:
                with suppress(MediaError):  # the next stage says so
                    self.audio.ensure(staged.digest, staged.path)
            return Medium(staged.digest, info)


def _info(text: str) -> MediaInfo:
    facts = json.loads(text)
    audio, video, frames = facts["audio"], facts["video"], facts["frames"]
    return MediaInfo(
        facts["duration_s"],
        AudioTrack(**audio) if audio else None,
        VideoTrack(**video) if video else None,
        tuple(frames) if frames else None,
    )
