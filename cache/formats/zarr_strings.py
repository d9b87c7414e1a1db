"""Arrays of strings as Zarr v3 has them: `vlen-utf8` chunks with a CRC-32C each."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from google_crc32c import value as crc32c

from cache.errors import Damage, DamageError, FalseClaim, UserError
from cache.json_documents import canonical_json
from cache.location import Location

STRINGS_PER_CHUNK = 1 << 16
_UINT32 = struct.Struct("<I")
Strings = Sequence[str] | pl.Series


def strings_document(n: int) -> dict[str, Any]:
    """Zarr metadata of n strings."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [n],
        "data_type": "string",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [STRINGS_PER_CHUNK]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": "",
        "codecs": [{"name": "vlen-utf8", "configuration": {}}, {"name": "crc32c"}],
        "attributes": {},
        "storage_transformers": [],
    }


def utf8(strings: Strings) -> list[bytes]:
    """The strings as UTF-8.

    Raises:
        UserError: one cannot be stored in every format (NUL characters, lone surrogates).
    """
    try:
        encoded = [text.encode() for text in strings]
    except UnicodeEncodeError as error:
        raise UserError(f"The id {error.object!r} is no valid Unicode text: rename it.") from None
    bad = next((text for text in encoded if b"\0" in text), None)
    if bad is not None:
        raise UserError(f"The id {bad.decode()!r} holds a NUL character: rename it.")
    return encoded


def write_strings(folder: Path, strings: Strings) -> None:
    """Writes them as an array in a new folder."""
    folder.mkdir()
    (folder / "zarr.json").write_bytes(canonical_json(strings_document(len(strings))))
    for number, start in enumerate(range(0, len(strings), STRINGS_PER_CHUNK)):
        encoded = utf8(strings[start : start + STRINGS_PER_CHUNK])
        parts = [_UINT32.pack(STRINGS_PER_CHUNK)]
        for text in encoded:
            parts += (_UINT32.pack(len(text)), text)
        parts.append(_UINT32.pack(0) * (STRINGS_PER_CHUNK - len(encoded)))
        data = b"".join(parts)
        (folder / f"c.{number}").write_bytes(data + _UINT32.pack(crc32c(data)))


def read_strings(location: Location, n: int, name: str) -> list[str]:
    """Reads n strings.

    Raises:
        DamageError: a chunk does not match its checksum or is gone.
    """
    found: list[str] = []
    damages = []
    for number, start in enumerate(range(0, n, STRINGS_PER_CHUNK)):
        stop = min(n, start + STRINGS_PER_CHUNK)
        try:
            found += _decode(location.read(f"c.{number}"), stop - start)
        except FileNotFoundError:
            damages.append(Damage(f"{name}/c.{number}", (start, stop), "is missing"))
        except ValueError as error:
            damages.append(Damage(f"{name}/c.{number}", (start, stop), str(error)))
        except FalseClaim as error:
            damages += [Damage(f"{name}/c.{number}", (start, stop), damage.reason) for damage in error.damages]
    if damages:
        raise DamageError(damages)
    return found


def _decode(data: bytes, n: int) -> list[str]:
    if len(data) < 8 or crc32c(data[:-4]) != _UINT32.unpack(data[-4:])[0]:
        raise ValueError("does not match its checksum")
    strings, at = [], 4
    unpack = _UINT32.unpack_from
    try:
        for _ in range(n):
            stop = at + 4 + unpack(data, at)[0]
            strings.append(str(data[at + 4 : stop], "utf-8"))
            at = stop
    except (struct.error, UnicodeDecodeError):
        at = len(data)
    if at > len(data) - 4:  # the checksum fits, so nothing was flipped
        raise ValueError("claims text that it does not hold")
    return strings
