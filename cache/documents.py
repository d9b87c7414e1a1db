"""Small JSON documents that know their own checksum, so that a flipped bit in a description is found as well."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from google_crc32c import value as crc32c

from cache.errors import Damage, DamageError

CHECKSUM = "hearonce_crc32c"
_SLOT = re.compile(rb'"hearonce_crc32c": "([0-9a-f]{8})"')
_EMPTY = b'"hearonce_crc32c": "00000000"'


def plain(document: Mapping[str, Any]) -> bytes:
    """A document as canonical JSON: the same content gives the same bytes everywhere."""
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return text.encode() + b"\n"


def sealed(document: Mapping[str, Any]) -> bytes:
    """A document, somewhere in which stands `CHECKSUM: "00000000"`, with the CRC-32C of its bytes filled in there."""
    blank = plain(document)
    if blank.count(_EMPTY) != 1:
        raise ValueError(f"the document needs {CHECKSUM} exactly once")
    return blank.replace(_EMPTY, _EMPTY.replace(b"00000000", b"%08x" % crc32c(blank)))


def is_ours(data: bytes) -> bool:
    """Whether the bytes look written by `plain` or `sealed`; other programs lay out JSON in other ways."""
    return data.startswith(b'{\n "')


def opened(data: bytes, name: str) -> dict[str, Any]:
    """Reads a sealed document.

    Raises:
        DamageError: the bytes are not those that `sealed` made.
    """
    found = _SLOT.search(data)
    if found is not None and crc32c(_SLOT.sub(_EMPTY, data)) == int(found[1], 16):
        return json.loads(data)
    raise DamageError([Damage(name, None, "does not match its checksum")])
