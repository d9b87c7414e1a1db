"""store.json: whose rows a store holds, and what they look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cache import documents
from cache.errors import Damage, DamageError, UserError
from cache.places import Place
from cache.row_format import RowFormat
from cache.row_group import SCHEMA_VERSION, RowGroup, check_schema

NAME = "store.json"


def check_tower(modality: object, fingerprint: object) -> None:
    """Refuses what cannot name a store; both become part of a path.

    Raises:
        UserError: the modality is neither `clips` nor `captions`, or the fingerprint is not 32 hex digits.
    """
    if modality not in ("clips", "captions"):
        raise UserError(f"{modality!r} is no modality of row stores: they hold clips or captions.")
    if not isinstance(fingerprint, str) or not re.fullmatch("[0-9a-f]{32}", fingerprint):
        raise UserError(f"{fingerprint!r} is no fingerprint of an encoder: it has 32 hex digits.")


@dataclass(frozen=True)
class StoreDescription:
    """Attributes:
    modality: `clips` or `captions`.
    fingerprint: of the tower, 32 hex digits.
    format: of every row.
    identity: what the fingerprint was made of, for people.
    """

    modality: str
    fingerprint: str
    format: RowFormat
    identity: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The file."""
        document = {
            "schema": SCHEMA_VERSION,
            "modality": self.modality,
            "fingerprint": self.fingerprint,
            "format": self.format.to_json(),
            "identity": dict(self.identity),
            documents.CHECKSUM: "00000000",
        }
        return documents.sealed(document)

    def foreign(self, group: RowGroup) -> Damage | None:
        """Says of a segment with rows of another tower or format that it does not belong here."""
        theirs = (group.description.get("modality"), group.description.get("fingerprint"), group.format)
        if theirs == (self.modality, self.fingerprint, self.format):
            return None
        what = f"{theirs[0]} of fingerprint {theirs[1]}, {theirs[2]}"
        return Damage("zarr.json", (0, len(group)), f"belongs to another store (it holds {what})")

    @classmethod
    def read(cls, place: Place) -> StoreDescription:
        """Reads that of the store at a place.

        Raises:
            UserError: there is no store, or one of another version.
            DamageError: the file does not match its checksum, or is missing where there are segments.
        """
        try:
            data = place.read(NAME)
        except (FileNotFoundError, NotADirectoryError):
            if "segments" in place.names():
                raise DamageError([Damage(NAME, None, "is missing")]) from None
            raise UserError(f"{place} is no row store of hearonce (it has no {NAME}).") from None
        found = documents.opened(data, NAME)
        check_schema(found, f"{place}/{NAME}", "row store")
        identity = found.get("identity")
        try:
            check_tower(found.get("modality"), found.get("fingerprint"))
            if not isinstance(found.get("format"), dict) or not isinstance(identity, dict):
                raise UserError("It does not say what its rows look like, or what they were made of.")
            return cls(found["modality"], found["fingerprint"], RowFormat.from_json(found["format"]), identity)
        except UserError as error:
            raise UserError(f"{place}/{NAME} is no description of a row store of hearonce: {error}") from None
