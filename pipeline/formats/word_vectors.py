"""The words of texts, and files of their vectors in word2vec's binary format.

Files are mapped: of gigabytes of vectors only those of wanted words are read.

`COUNT DIM` on a line, then COUNT times: the word in UTF-8, a space, DIM little-endian float32, and perhaps a line feed.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
from google_crc32c import value as crc32c

from cache.durable import new_file
from cache.errors import UserError
from cache.location import Store
from pipeline.checkpoints.fingerprints import check_unchanged, digest_of

ENTRY = np.dtype([("hash", "<u8"), ("offset", "<i8")])
GZIP = b"\x1f\x8b"
WORD = re.compile(r"[\w']+")


def words_of(text: str) -> list[str]:
    """The words of a text in AVLnet's sense: runs of letters, digits, underscores and apostrophes, case kept."""
    return WORD.findall(text)


class WordVectors:
    """Vectors of words, looked up in the file.

    Args:
        content: the mapped file.
        index: `ENTRY` for each word, sorted by hash, then by place in the file.
        dim: length of a vector.

    Attributes:
        dim: length of a vector.
    """

    def __init__(self, content: mmap.mmap, index: np.ndarray, dim: int) -> None:
        self._content, self._index, self.dim = content, index, dim

    def __len__(self) -> int:
        return len(self._index)

    def of(self, words: Iterable[str]) -> np.ndarray:
        """The vectors of those words that have one, float32 (n, dim), in their order."""
        found = [vector for word in words if (vector := self._find(word.encode())) is not None]
        return np.stack(found) if found else np.zeros((0, self.dim), np.float32)

    def _find(self, word: bytes) -> np.ndarray | None:
        """The first vector under a word."""
        hashed = _hash(word)
        hashes, offsets = self._index["hash"], self._index["offset"]
        at = int(np.searchsorted(hashes, np.uint64(hashed)))
        while at < len(self._index) and hashes[at] == hashed:
            begin = int(offsets[at])
            vector = begin + len(word) + 1
            if self._content[begin:vector] == word + b" ":
                return np.frombuffer(self._content, "<f4", self.dim, vector).astype(np.float32)
            at += 1
        return None


def open_vectors(path: Path, dim: int | None = None) -> WordVectors:
    """Maps a file of word vectors; its first use reads all of it, to note in the store where each word is.

    Args:
        path: the file.
        dim: length that its vectors must have; None for whatever they have.

    Raises:
        UserError: it is missing, cut short, compressed, or something else.
    """
    digest = digest_of(path)
    stored = Store.default().word_indexes / f"{digest}.npy"
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise UserError(f"{path} is empty: fetch it again.") from None
    count, start, dim = _header(path, content, dim)
    if not _is_intact(stored):
        index = _index(path, content, count, start, dim)
        with new_file(stored) as temporary:
            with temporary.open("w+b") as file:
                np.save(file, index)
                file.seek(0)
                file.write(crc32c(file.read()).to_bytes(4, "little"))
            check_unchanged(path, digest)
    return WordVectors(content, np.load(stored, mmap_mode="r"), dim)


def _is_intact(index: Path) -> bool:
    """Whether an index is there and matches the CRC-32C at its end; a word that it loses would be skipped silently."""
    try:
        data = index.read_bytes()
    except FileNotFoundError:
        return False
    return crc32c(data[:-4]) == int.from_bytes(data[-4:], "little")


def _header(path: Path, content: mmap.mmap, dim: int | None) -> tuple[int, int, int]:
    """How many vectors the file says it has, where the first begins, and how long they are."""
    line = content[:64].partition(b"\n")[0]
    if line.startswith(GZIP):
        raise UserError(f"{path} is compressed: unpack it (`gunzip`, or `hearonce checkpoints fetch --unpack`).")
    try:
        count, length = (int(number) for number in line.split())
        if count < 0 or length < 1:
            raise ValueError
    except ValueError:
        raise UserError(f"{path} is no file of word vectors in word2vec's binary format.") from None
    if dim is not None and length != dim:
        raise UserError(f"{path} has vectors of length {length}: set `dim: {length}` in the encoder's YAML, not {dim}.")
    return count, len(line) + 1, length


def _index(path: Path, content: mmap.mmap, count: int, start: int, dim: int) -> np.ndarray:
    """Where each word begins, sorted by hash."""
    index = np.empty(min(count, len(content) // (4 * dim + 1)), ENTRY)  # the header may say anything
    number = -1
    for number, entry in zip(range(len(index)), _entries(content, start, 4 * dim), strict=False):
        index[number] = entry
    if number + 1 < count:
        raise UserError(
            f"{path} is cut short: it has {number + 1} of the {count} vectors it announces. Fetch it again."
        )
    return index[np.lexsort((index["offset"], index["hash"]))]


def _entries(content: mmap.mmap, position: int, vector_bytes: int) -> Iterator[tuple[int, int]]:
    """(hash of the word, where it begins), from a position on, of all whole entries."""
    size = len(content)
    while (space := content.find(b" ", position)) >= 0 and space + 1 + vector_bytes <= size:
        word = content[position:space]
        bare = word.lstrip(b"\n")
        yield _hash(bare), position + len(word) - len(bare)
        position = space + 1 + vector_bytes


def _hash(word: bytes) -> int:
    return int.from_bytes(blake2b(word, digest_size=8).digest(), "little")
