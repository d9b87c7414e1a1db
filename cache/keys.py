"""Content keys: a row is named by what it was computed from, never by where that lies.

Every key is a 128-bit BLAKE2b hash over a canonical JSON text, personalised by its kind, so that a caption and
a clip can never share a key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

import numpy as np

KEY_BYTES = 16

Keys = Sequence[bytes] | np.ndarray
"""n row keys: 16 bytes each, or packed as uint8 (n, 16)."""
_BLOCK = 1 << 16


def content_hash(kind: str, parts: Any) -> bytes:
    """Hash of plain values (16 bytes); of another kind (at most 16 letters) the same values have another."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES, person=kind.encode()).digest()


def clip_key(media_digest: str, start_s: float, stop_s: float, rendition: str = "") -> bytes:
    """Names the embedding of one clip.

    Args:
        media_digest: hex digest of the bytes of the media file.
        start_s: start of the clip in seconds, as exact as a float is.
        stop_s: end of the clip in seconds, exclusive.
        rendition: what was made of the file before the encoder saw it, for example the recipe of the extracted
            audio; empty when the encoder reads the file itself.

    Returns:
        16 bytes.
    """
    return content_hash("clip", [media_digest, float(start_s).hex(), float(stop_s).hex(), rendition])


def joined_clip_key(spans: Sequence[tuple[str, float, float]], rendition: str = "") -> bytes:
    """Names the embedding of a clip made of several stretches, each a (media_digest, start_s, stop_s) of `clip_key`."""
    if len(spans) == 1:
        return clip_key(*spans[0], rendition)
    return content_hash("clip", [*([digest, float(a).hex(), float(b).hex()] for digest, a, b in spans), rendition])


def clip_keys(
    media_digests: Iterable[str],
    start_s: Iterable[float],
    stop_s: Iterable[float],
    rendition: str = "",
    stretches: Iterable[int] | None = None,
) -> np.ndarray:
    """`clip_key` or `joined_clip_key` of many clips, a few times as fast.

    Args:
        media_digests: of each stretch, those of a clip one after another.
        start_s: of each stretch.
        stop_s: of each stretch.
        rendition: as of `clip_key`.
        stretches: how many each clip has; one by default.

    Returns:
        uint8 (n, 16).
    """
    end = quoted(rendition)
    texts = (
        f'{quoted(digest)},"{start.hex()}","{stop.hex()}"'
        for digest, start, stop in zip(media_digests, start_s, stop_s, strict=True)
    )
    if stretches is None:
        return _hashes("clip", (f"[{text},{end}]" for text in texts))
    joined = (",".join([f"[{text}]" for text in islice(texts, n)] if n > 1 else [next(texts)]) for n in stretches)
    return _hashes("clip", (f"[{text},{end}]" for text in joined))


def caption_key(text: str) -> bytes:
    """Names the embedding of one text, letter for letter (16 bytes)."""
    return content_hash("caption", text)


def caption_keys(texts: Iterable[str]) -> np.ndarray:
    """`caption_key` of many texts, a few times as fast: uint8 (n, 16)."""
    return _hashes("caption", map(quoted, texts))


def _hashes(kind: str, texts: Iterable[str]) -> np.ndarray:
    """`content_hash` of values that are canonical JSON texts already: uint8 (n, 16)."""
    empty = hashlib.blake2b(digest_size=KEY_BYTES, person=kind.encode())
    packed = bytearray()
    for text in texts:
        hasher = empty.copy()
        hasher.update(text.encode())
        packed += hasher.digest()
    return np.frombuffer(packed, np.uint8).reshape(-1, KEY_BYTES)


def feature_key(values: np.ndarray) -> bytes:
    """Names features that come ready-made by their type, shape and numbers (16 bytes)."""
    values = np.ascontiguousarray(values)
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.blake2b(little.data, digest_size=KEY_BYTES).hexdigest()
    return content_hash("feature", [little.dtype.str, list(values.shape), digest])


def combined_key(*keys: bytes | None) -> bytes:
    """Names what is computed from rows of other caches (16 bytes).

    Args:
        *keys: of those rows, in a fixed order; None for one that there is not.
    """
    return content_hash("rows", [None if key is None else key.hex() for key in keys])


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Names everything that changes an encoder's output (32 hex digits); see `Encoder.clip_identity`."""
    return content_hash("encoder", identity).hex()


def pack_keys(keys: Keys) -> np.ndarray:
    """Stacks n keys into a uint8 array of shape (n, 16); an array that is one already is not copied."""
    if isinstance(keys, np.ndarray):
        return np.ascontiguousarray(keys, np.uint8).reshape(-1, KEY_BYTES)
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), KEY_BYTES)


def unpack_keys(packed: np.ndarray) -> list[bytes]:
    """The keys of a uint8 array (n, 16) as 16 bytes each."""
    return np.ascontiguousarray(packed).view(f"V{KEY_BYTES}").ravel().tolist()


def halves(packed: np.ndarray) -> np.ndarray:
    """The keys of a uint8 array (n, 16) as two numbers each, uint64 (n, 2), not copied."""
    return np.ascontiguousarray(packed).view(np.uint64).reshape(-1, 2)


def first_duplicate(packed: np.ndarray) -> int | None:
    """Position of the first key that has come before, None if all are distinct."""
    high = np.sort(halves(packed)[:, 0])
    if not (high[1:] == high[:-1]).any():
        return None
    seen: set[bytes] = set()
    for i, key in enumerate(unpack_keys(packed)):
        if key in seen:
            return i
        seen.add(key)
    return None


class KeyIndex:
    """The keys of several segments, oldest first.

    Args:
        parts: packed keys of each segment, uint8 (n, 16).
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        counts = [len(part) for part in parts]
        self.first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        total = int(self.first[-1])
        self.packed = np.concatenate([pack_keys([]), *parts])
        high = self._halves[:, 0]
        # Stable: of a key written twice, the first row comes first; which is read, `cache.catalog` decides.
        self._order = np.argsort(high, kind="stable").astype(np.uint32 if total < 1 << 32 else np.int64)
        self._sorted = high[self._order]

    @property
    def _halves(self) -> np.ndarray:
        return halves(self.packed)

    def find(self, keys: Keys) -> np.ndarray:
        """Position of each key among all rows, that of its first row, -1 where it is missing: int64 (n,)."""
        found = np.full(len(keys), -1, np.int64)
        if not len(self._order):
            return found
        of_all = self._halves
        for start in range(0, len(keys), _BLOCK):
            wanted = halves(pack_keys(keys[start : start + _BLOCK]))
            at = np.minimum(np.searchsorted(self._sorted, wanted[:, 0]), len(self._order) - 1)
            candidate = self._order[at].astype(np.int64)
            same = of_all[candidate] == wanted
            hit = same.all(axis=1)
            block = np.where(hit, candidate, -1)
            for i in np.flatnonzero(same[:, 0] & ~hit):  # two keys that share their first 64 bits
                run = self._order[at[i] : np.searchsorted(self._sorted, wanted[i, 0], side="right")]
                match = run[of_all[run, 1] == wanted[i, 1]]
                block[i] = match[0] if len(match) else -1
            found[start : start + _BLOCK] = block
        return found

    def copies(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows whose key has several, those of a key together and ascending: positions (m,), and where each key begins.

        Returns:
            int64 (m,), int64 (keys + 1,); keys are ordered by their first row.
        """
        again = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        suspects = np.unique(self._order[np.concatenate([again, again + 1])].astype(np.int64))
        if not len(suspects):
            return suspects, np.zeros(1, np.int64)
        first = self.find(self.packed[suspects])
        order = np.lexsort((suspects, first))
        members, first = suspects[order], first[order]
        counts = np.unique(first, return_counts=True)[1]
        several = np.repeat(counts > 1, counts)
        counts = counts[counts > 1]
        return members[several], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def first_rows(self) -> np.ndarray:
        """Which rows are the first of their key: bool (n,)."""
        again = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        first = np.ones(len(self.packed), bool)
        suspects = np.unique(self._order[np.concatenate([again, again + 1])].astype(np.int64))
        first[suspects] = self.find(self.packed[suspects]) == suspects
        return first
