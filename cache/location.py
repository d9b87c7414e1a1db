"""Where the store lies: rows, extracted audio and remembered digests, outside DVC and shared by all corpora."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

STORE_VARIABLE = "HEARONCE_STORE"


@dataclass(frozen=True)
class Store:
    """The folders of one store.

    Attributes:
        root: `$HEARONCE_STORE`, or `.hearonce` in the working tree.
    """

    root: Path

    @classmethod
    def default(cls) -> Store:
        """The store this process works with."""
        return cls(Path(os.environ.get(STORE_VARIABLE) or ".hearonce"))

    @property
    def rows(self) -> Path:
        """Row stores, one folder per modality and fingerprint."""
        return self.root / "rows"

    @property
    def audio(self) -> Path:
        """Extracted audio, addressed by content."""
        return self.root / "audio"

    @property
    def digests(self) -> Path:
        """Remembered digests of files of this machine."""
        return self.root / "digests.sqlite"
