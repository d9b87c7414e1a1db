"""From what an encoder says of itself to its fingerprint: files become digests of their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.digests import DigestMemory
from cache.errors import UserError
from cache.keys import fingerprint
from cache.location import Store
from pipeline.checkpoints.official import not_found


def fingerprint_of(
    identity: Mapping[str, Any], store: Store | None = None, *, remember: bool = True
) -> tuple[str, dict[str, Any]]:
    """Resolves an identity (see `Encoder.clip_identity`).

    Args:
        identity: nested mappings and lists of plain values and paths.
        store: whose memory of digests serves; the default store if None.
        remember: where there is no such memory yet, begin one.

    Returns:
        (fingerprint, the identity with each path replaced by the digest of the file's bytes).

    Raises:
        UserError: a file is missing.
    """
    location = (store or Store.default()).digests
    memory = DigestMemory(location if remember or location.is_file() else None)
    try:
        resolved = _resolve(dict(identity), memory)
    finally:
        memory.close()
    return fingerprint(resolved), resolved


def digest_of(path: Path) -> str:
    """Digest of a file's bytes, by which the store names what was derived from it.

    Raises:
        UserError: it is missing or cannot be read.
    """
    memory = DigestMemory(Store.default().digests)
    try:
        return _digest(path, memory)
    finally:
        memory.close()


def check_unchanged(path: Path, digest: str) -> None:
    """Makes sure that what was read of a file were the bytes of a digest, before something made of them is kept.

    Raises:
        UserError: it has changed.
    """
    if digest_of(path) != digest:
        raise UserError(f"{path} has changed while it was being read: run again when it is whole.")


def _digest(path: Path, memory: DigestMemory) -> str:
    try:
        return memory.digest(path)
    except FileNotFoundError:
        raise UserError(f"{not_found(path)}.") from None
    except OSError as error:
        raise UserError(f"The model needs {path}, which cannot be read: {error.strerror}.") from None


def _resolve(value: Any, memory: DigestMemory) -> Any:
    if isinstance(value, Path):
        return f"blake2b-128:{_digest(value, memory)}"
    if isinstance(value, Mapping):
        return {str(name): _resolve(part, memory) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_resolve(part, memory) for part in value]
    return value
