"""Opens each medium of a corpus once: its digest, what it holds and, if it had to be fetched, its sound."""

from __future__ import annotations

import json
from collections.abc import Set
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cache.digests import DigestMemory
from pipeline.audio_store import AudioStore
from pipeline.media.errors import MediaError
from pipeline.media.opening import first_bytes
from pipeline.media.probe import AudioTrack, MediaInfo, VideoTrack, probe
from pipeline.media_place import MediaPlace
from pipeline.remote.address import RemoteFile
from pipeline.remote.staging import Staging, resolved
from stages.ingest.tables import Medium

PROBE_VERSION = "probe 2"
"""To be raised when `probe` finds out more, or other things."""


@dataclass(frozen=True)
class Opener:
    """Opens the media of a corpus; may be used by many threads.

    Attributes:
        place: where they lie.
        memory: remembers digests, and what the bytes of a digest hold, so that they are read through once.
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
            if not source.is_dir():
                first_bytes(source)  # says what is wrong in one sentence
            digest = self.memory.digest(source)
            text = self.memory.recall_facts(digest, PROBE_VERSION)
            return Medium(digest, _info(text) if text else self._probed(source, digest))
        return self._remote(resolved(source), path in self.heard)

    def _remote(self, source: RemoteFile, heard: bool) -> Medium:
        known = self.memory.recall(source.identity, source.size, source.version) if source.version else None
        text = self.memory.recall_facts(known, PROBE_VERSION) if known else None
        if known and text:
            return Medium(known, _info(text))
        with Staging.default(self.memory).held(source) as staged:
            info = self._probed(staged.path, staged.digest)
            if heard and info.audio is not None:
                if info.kind:
                    self.audio.kinds[staged.digest] = info.kind
                with suppress(MediaError):  # the next stage says so
                    self.audio.ensure(staged.digest, staged.path)
            return Medium(staged.digest, info)

    def _probed(self, file: Path, digest: str) -> MediaInfo:
        info = probe(file)
        self.memory.remember_facts(digest, PROBE_VERSION, json.dumps(asdict(info)))
        return info


def _info(text: str) -> MediaInfo:
    facts = json.loads(text)
    audio, video, frames = facts["audio"], facts["video"], facts["frames"]
    return MediaInfo(
        facts["duration_s"],
        AudioTrack(**audio) if audio else None,
        VideoTrack(**video) if video else None,
        tuple(frames) if frames else None,
        facts["kind"],
    )
