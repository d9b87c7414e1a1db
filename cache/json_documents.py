"""JSON documents of stores and artifacts: canonical bytes, a checksum within, and strict reading."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from google_crc32c import value as crc32c

from cache.errors import Damage, DamageError, FalseClaim

CHECKSUM = "hearonce_crc32c"
_SLOT = re.compile(rb'"hearonce_crc32c": "([0-9a-f]{8})"')
_EMPTY = b'"hearonce_crc32c": "00000000"'


def canonical_json(document: Mapping[str, Any]) -> bytes:
    """A document as canonical JSON: the same content gives the same bytes everywhere."""
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return text.encode() + b"\n"


def seal(document: Mapping[str, Any]) -> bytes:
    """A document, somewhere in which stands `CHECKSUM: "00000000"`, with the CRC-32C of its bytes filled in there."""
    blank = canonical_json(document)
    if blank.count(_EMPTY) != 1:
        raise ValueError(f"the document needs {CHECKSUM} exactly once")
    return blank.replace(_EMPTY, _EMPTY.replace(b"00000000", b"%08x" % crc32c(blank)))


def is_own_json(data: bytes) -> bool:
    """Whether the bytes look written by `canonical_json` or `seal`; other programs lay out JSON in other ways."""
    return data.startswith(b'{\n "')


def parse_json(data: bytes, name: str) -> Any:
    """Reads JSON that may come from anybody.

    Raises:
        FalseClaim: it is none, is nested too deeply, names something twice, or has numbers that JSON has not.
    """
    try:
        return json.loads(data, object_pairs_hook=_distinct, parse_constant=_refuse)
    except RecursionError:
        raise FalseClaim([Damage(name, None, "is no JSON of hearonce (it is nested too deeply)")]) from None
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise FalseClaim([Damage(name, None, f"is no JSON of hearonce ({reason})")]) from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def unseal(data: bytes, name: str) -> dict[str, Any]:
    """Reads a sealed document.

    Raises:
        DamageError: the bytes are not those that `seal` made.
        FalseClaim: they are sealed, but no JSON object.
    """
    found = _SLOT.search(data)
    if found is not None and crc32c(_SLOT.sub(_EMPTY, data)) == int(found[1], 16):
        document = parse_json(data, name)
        if isinstance(document, dict):
            return document
        raise FalseClaim([Damage(name, None, "is no JSON object")])
    raise DamageError([Damage(name, None, "does not match its checksum")])
