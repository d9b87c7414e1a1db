"""Gathers the pictures of a clip: in memory, and from some size on in a file that is mapped."""

from __future__ import annotations

import tempfile
from typing import IO

import numpy as np

from pipeline.media.containers import MediaError
from pipeline.media.frames import Picture

MOST_BYTES = 128 << 20
"""Pictures of one clip that are held in memory: 2 minutes at 24 per second and 112 pixels."""


class PictureStack:
    """Pictures of one size, put one on top of the other.

    Those beyond `most_bytes` move, with the ones before them, into a file without a name in the folder for temporary
    files (`$TMPDIR`), which is gone as soon as nobody needs the array any more.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._pictures: list[Picture] = []
        self._shape: tuple[int, ...] | None = None
        self._count = 0
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, picture: Picture) -> None:
        """Takes the next picture.

        Raises:
            MediaError: it differs from the others in size.
        """
        if self._shape is None:
            self._shape = picture.shape
        elif picture.shape != self._shape:
            raise MediaError("the pictures of this clip differ in size")
        self._count += 1
        self._pictures.append(picture)
        if len(self._pictures) * picture.nbytes > self._most_bytes:
            self._write()

    def array(self) -> np.ndarray:
        """All pictures, uint8 (count, height, width, 3); to be called once.

        Raises:
            ValueError: there are none.
        """
        if self._shape is None:
            raise ValueError("no pictures")
        if self._file is None:
            return np.stack(self._pictures)
        with self._file:
            self._write()
            self._file.flush()
            return np.memmap(self._file, np.uint8, "r", shape=(self._count, *self._shape))

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="hearonce-pictures-")  # noqa: SIM115
        for picture in self._pictures:
            self._file.write(np.ascontiguousarray(picture).data)
        self._pictures = []
