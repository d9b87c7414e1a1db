"""Content keys: a row is named by what it was computed from, never by where that lies.

Every key is a 128-bit BLAKE2b hash over a canonical JSON text, personalised by its kind, so that a caption and
a clip can never share a key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

KEY_BYTES = 16


def _hash(kind: str, parts: Any) -> bytes:
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
    return _hash("clip", [media_digest, float(start_s).hex(), float(stop_s).hex(), rendition])


def caption_key(text: str) -> bytes:
    """Names the embedding of one text, letter for letter (16 bytes)."""
    return _hash("caption", text)


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Names everything that changes an encoder's output (32 hex digits); see `Encoder.clip_identity`."""
    return _hash("encoder", identity).hex()


def pack(keys: Sequence[bytes]) -> np.ndarray:
    """Stacks n keys into a uint8 array of shape (n, 16)."""
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), KEY_BYTES)
