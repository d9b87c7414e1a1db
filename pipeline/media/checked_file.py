"""Files that are read block by block, each block against its CRC-32C: what is decoded is what was written."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from google_crc32c import value as crc32c

BLOCK_BYTES = 1 << 16
"""Bytes under one checksum: little enough that seeking in a long file reads little, and 8 digits for each."""


def checksums(path: Path) -> str:
    """The CRC-32C of each block of a file, as eight hex digits each, one after another.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return "".join(f"{crc32c(block):08x}" for block in iter(lambda: _filled(file), b""))


def _filled(file: io.FileIO) -> bytes:
    """The next block, shorter only at the end of the file."""
    block = file.read(BLOCK_BYTES)
    while len(block) < BLOCK_BYTES and (more := file.read(BLOCK_BYTES - len(block))):
        block += more
    return block


class CheckedFile:
    """A binary file for libraries that take a Python object, such as libsndfile; a thread should use one alone.

    An exception cannot pass through libsndfile: a wrong block reads as the end of the file, and `fault` says why.

    Args:
        path: the file.
        nbytes: that it must have.
        sums: of its blocks, see `checksums`.

    Attributes:
        fault: what was found wrong, or nothing.
        version: inode and ctime; a file that took the place of this one has others.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, nbytes: int, sums: str) -> None:
        self._file = path.open("rb", buffering=0)
        self._nbytes, self._sums = nbytes, sums
        self._position, self._number, self._block = 0, -1, b""
        status = os.fstat(self._file.fileno())
        self.version = status.st_ino, status.st_ctime_ns
        self.fault = "" if status.st_size == nbytes else f"has {status.st_size} bytes instead of {nbytes}"

    def __enter__(self) -> CheckedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._nbytes}[whence]
        self._position = max(begin + offset, 0)
        return self._position

    def tell(self) -> int:
        """As of any file."""
        return self._position

    def readinto(self, target: Any) -> int:
        """As of any file; nothing after a fault."""
        view = memoryview(target).cast("B")
        done = 0
        while done < len(view) and self._position < self._nbytes and not self.fault:
            number, first = divmod(self._position, BLOCK_BYTES)
            if number != self._number:
                self._load(number)
            piece = memoryview(self._block)[first : first + len(view) - done]
            if not piece:
                break
            view[done : done + len(piece)] = piece
            done, self._position = done + len(piece), self._position + len(piece)
        return done

    def read(self, size: int = -1) -> bytes:
        """As of any file; nothing after a fault."""
        target = bytearray(self._nbytes - self._position if size < 0 else size)
        return bytes(target[: self.readinto(target)])

    def check(self) -> str:
        """Reads all of the file: what is wrong with it, or nothing."""
        for number in range(-(-self._nbytes // BLOCK_BYTES)):
            if not self.fault:
                self._load(number)
        return self.fault

    def _load(self, number: int) -> None:
        self._number, self._block = -1, b""
        try:
            self._file.seek(number * BLOCK_BYTES)
            block = _filled(self._file)
        except OSError as error:
            self.fault = f"cannot be read ({error.strerror})"
            return
        if f"{crc32c(block):08x}" != self._sums[8 * number : 8 * number + 8]:
            self.fault = f"does not match its checksum (bytes {number * BLOCK_BYTES} to {(number + 1) * BLOCK_BYTES})"
            return
        self._number, self._block = number, block
