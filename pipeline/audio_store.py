"""Extracted sound tracks, addressed by the bytes they came from: each is made once for all corpora and runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from cache.durable import clean_abandoned, make_folder, new_file
from cache.location import Store
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio import AudioFile, extract_audio
from pipeline.media_place import Source, local

VERSION = 1


def recipe(settings: AudioSettings) -> str:
    """Names how sound tracks are extracted; part of the row keys of what listens to them."""
    return f"flac{settings.bits}-{settings.channels}-{VERSION}"


class AudioStore:
    """FLAC files named by the digest of their source, each with a small JSON file beside it.

    Args:
        store: whose `audio` folder is used.
        settings: how sound tracks are extracted.

    Attributes:
        folder: of all files made in this way.
    """

    def __init__(self, store: Store, settings: AudioSettings) -> None:
        self.settings = settings
        self.folder = store.audio / recipe(settings)
        self._cleaned: set[Path] = set()

    def path(self, digest: str) -> Path:
        """Where the FLAC file of a source lies."""
        return self.folder / digest[:2] / f"{digest}.flac"

    def find(self, digest: str) -> AudioFile | None:
        """The extracted file, or None if it is not there yet."""
        path = self.path(digest)
        try:
            return AudioFile(**json.loads(path.with_suffix(".json").read_text())) if path.is_file() else None
        except (OSError, ValueError, TypeError):
            return None

    def ensure(self, digest: str, source: Source) -> AudioFile:
        """Extracts the sound track unless that has been done.

        Args:
            digest: of the source's bytes.
            source: the media file; a remote one is fetched if need be.

        Raises:
            MediaError: there is no sound track, or it cannot be decoded or fetched.
        """
        found = self.find(digest)
        if found is not None:
            return found
        path = self.path(digest)
        make_folder(path.parent)
        if path.parent not in self._cleaned:
            self._cleaned.add(path.parent)
            clean_abandoned(path.parent)
        with local(source, digest) as file:
            made = extract_audio(file, path, channels=self.settings.channels, bits=self.settings.bits)
        with new_file(path.with_suffix(".json"), clean=False) as temporary:
            temporary.write_text(json.dumps(asdict(made)))
        return made
