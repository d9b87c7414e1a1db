"""What lies beside each extracted sound track: what it is of, its form, and checksums of its bytes."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import soundfile

from cache.documents import CHECKSUM, opened, sealed
from cache.durable import new_file
from cache.errors import DamageError
from pipeline.media.audio import AudioFile
from pipeline.media.checked_file import BLOCK_BYTES, checksums
from pipeline.media.errors import MediaError

SCHEMA = 2
"""Of the JSON file; the first one had no checksums."""
OF_OLDER_VERSION = "was extracted by an older version, without checksums"


class NoRecord(Exception):
    """There is no record that can be trusted, with the reason, or None where there is none at all."""


@dataclass(frozen=True)
class AudioRecord:
    """An extracted sound track as it was written.

    Attributes:
        digest: of the medium it is of.
        recipe: how it was extracted.
        audio: rate, channels, length.
        nbytes: of the FLAC file.
        crc32c: of each block of the FLAC file, see `pipeline.media.checked_file.checksums`.
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
            temporary.write_bytes(sealed(document))


def read_record(path: Path, digest: str, recipe: str) -> AudioRecord:
    """Reads the JSON file beside an extracted sound track.

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
    found = opened(path.read_bytes(), path.name)
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
