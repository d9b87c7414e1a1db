"""Where the store lies: rows, extracted audio and remembered digests, outside DVC and shared by all corpora."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError

STORE_VARIABLE = "HEARONCE_STORE"
WORKING_TREE_STORE = Path(".hearonce")
DIGESTS = "digests.sqlite"


@dataclass(frozen=True)
class Store:
    """The folders of one store.

    Attributes:
        root: `$HEARONCE_STORE`, which a team may share, or `.hearonce` in the working tree.
        local: what is of this machine alone; `root` if None.
    """

    root: Path
    local: Path | None = None

    @classmethod
    def default(cls) -> Store:
        """The store this process works with.

        Raises:
            UserError: `$HEARONCE_STORE` names no folder: a store on a disk that is not mounted must not begin anew.
        """
        named = os.environ.get(STORE_VARIABLE)
        if not named:
            return cls(WORKING_TREE_STORE, WORKING_TREE_STORE)
        if "://" in named:
            raise UserError(
                f"{STORE_VARIABLE} is a URL, but runs write into their store, which takes a folder: mount it, or share "
                "rows with `dvc push` or `hearonce cache merge`."
            )
        if not Path(named).is_dir():
            raise UserError(
                f"{STORE_VARIABLE} names {named}, which is no folder: mount the disk it lies on, or make the folder "
                "(`mkdir -p`) to begin a new store there."
            )
        return cls(Path(named), WORKING_TREE_STORE)

    @property
    def rows(self) -> Path:
        """Row stores, one folder per modality and fingerprint."""
        return self.root / "rows"

    @property
    def audio(self) -> Path:
        """Extracted audio, addressed by content."""
        return self.root / "audio"

    @property
    def answers(self) -> Path:
        """Answers of language models, one folder per prompt, model and decoding."""
        return self.root / "answers"

    @property
    def captions(self) -> Path:
        """Captions that were imported from pickles, by the pickles' digests."""
        return self.root / "captions"

    @property
    def trainings(self) -> Path:
        """How far trainings have come that are not finished, one folder each."""
        return self.root / "trainings"

    @property
    def logs(self) -> Path:
        """What runs on this machine have written down of themselves."""
        return (self.local or self.root) / "logs"

    @property
    def digests(self) -> Path:
        """Remembered digests of files of this machine."""
        return (self.local or self.root) / DIGESTS

    @property
    def staging(self) -> Path:
        """Copies of remote media that are or were in use on this machine."""
        return (self.local or self.root) / "staging"

    @property
    def word_indexes(self) -> Path:
        """Where the words are in files of word vectors, by the files' digests."""
        return (self.local or self.root) / "word-indexes"
