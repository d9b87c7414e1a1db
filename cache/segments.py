"""The segments of a row store: immutable row groups that appear whole, wherever the store lies."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.durable import clean_abandoned, new_directory, new_file, share_folder
from cache.errors import Damage, DamageError, StoreBusy, UserError, writing
from cache.formats.group import SCHEMA_VERSION, RowGroup, check_schema
from cache.formats.zarr_group import ZarrGroup
from cache.json_documents import CHECKSUM, seal, unseal
from cache.location import LocalLocation, Location, RemoteLocation
from cache.rows import RowFormat

_SUFFIX = ".zarr"

STORE_FILE = "store.json"


class Segments:
    """The folder of a store's segments.

    On a local disk a segment appears by a rename, after all its bytes are synced. An object store has no rename;
    there a segment counts once its zarr.json is there, which is uploaded last.

    Args:
        location: of the store.
    """

    def __init__(self, location: LocalLocation | RemoteLocation) -> None:
        self._root = location
        self._location = location.child("segments")

    def names(self) -> list[str]:
        """Names of the committed segments, oldest first."""
        return [name for name in self._location.names() if name.endswith(_SUFFIX)]

    def holds(self, name: str) -> bool:
        """Whether a segment is committed, and not removed since."""
        return (
            name in self.names()
            if isinstance(self._location, LocalLocation)
            else "zarr.json" in self.location(name).names()
        )

    def location(self, name: str) -> Location:
        """Folder of a segment."""
        return self._location.child(name)

    def open(self, name: str) -> ZarrGroup | None:
        """Opens a segment; None if it is not committed (any more).

        Raises:
            DamageError: its description does not match its checksum.
            FileNotFoundError: its description is lost.
        """
        try:
            return ZarrGroup(self._location.child(name), "segment")
        except FileNotFoundError:
            if self.holds(name):
                raise
            return None

    @contextmanager
    def new(self, after: str | None = None) -> Iterator[Path]:
        """Yields an empty folder to write a segment into; on success the segment is committed.

        Args:
            after: name of the segment whose time the new segment takes; now by default.

        Raises:
            UserError: the store has vanished, the disk is full or read-only; nothing becomes visible.
        """
        stamp = after.split("-")[0] if after else f"{time.time_ns():020d}"
        name = f"{stamp}-{uuid.uuid4().hex[:12]}{_SUFFIX}"
        self.check_exists()
        if isinstance(self._location, LocalLocation):
            with new_directory(self._location.path / name, self._scratch) as folder:
                yield folder
                self.check_exists()
            return
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
            self._upload(Path(temporary), name)

    def check_removable(self, names: Iterable[str]) -> None:
        """Refuses to rewrite segments that this process may not remove, which would double their rows at each attempt.

        Raises:
            UserError: one belongs to somebody who does not share it.
        """
        if isinstance(self._location, LocalLocation):
            for name in names:
                path = self._location.path / name
                if path.is_dir() and not os.access(path, os.W_OK):
                    raise UserError(
                        f"{path} is somebody else's, so it was not rewritten: ask its owner for `chmod -R g+rwX`, "
                        "or to run this (docs/cache.md, Sharing)."
                    )

    def discard(self, names: Iterable[str]) -> None:
        """Removes segments: all at once, as far as readers see, then their bytes."""
        if isinstance(self._location, LocalLocation):
            with writing(self._root):
                if not self._scratch.is_dir():
                    self._scratch.mkdir(exist_ok=True)
                    share_folder(self._scratch)
                removed = []
                for name in names:
                    gone = self._scratch / f".{name}.{uuid.uuid4().hex[:12]}.part"
                    with suppress(FileNotFoundError):  # another process has removed it
                        os.rename(self._location.path / name, gone)
                        removed.append(gone)
                for gone in removed:
                    shutil.rmtree(gone, ignore_errors=True)
            return
        filesystem, paths = self._location.filesystem, [f"{self._location.path}/{name}" for name in names]
        for path in paths:
            if filesystem.exists(f"{path}/zarr.json"):
                filesystem.rm(f"{path}/zarr.json")
        for path in paths:
            if filesystem.exists(path):
                filesystem.rm(path, recursive=True)

    @contextmanager
    def locked(self, *, dry_run: bool = False) -> Iterator[bool]:
        """Keeps other processes from removing segments meanwhile; writers and readers go on.

        Args:
            dry_run: lock nothing, since nothing will be written.

        Yields:
            Whether nobody else can remove a segment: nothing can lock a URL, nor NFS a folder.

        Raises:
            StoreBusy: another process is at it.
        """
        if dry_run or not isinstance(self._root, LocalLocation):
            yield isinstance(self._root, LocalLocation)
            return
        try:
            descriptor = os.open(self._root.path, os.O_RDONLY)
        except OSError:  # there is no store, as the next to read it will say
            yield False
            return
        try:
            yield _locked(descriptor, self._root)
        finally:
            os.close(descriptor)

    def clean(self) -> None:
        """Removes what dead writers left unfinished."""
        if isinstance(self._location, LocalLocation):
            clean_abandoned(self._scratch)

    def check_exists(self) -> None:
        """Refuses to write into a store that has vanished, which would make a new, empty one in its place.

        Raises:
            UserError: it has.
        """
        if STORE_FILE not in self._root.names():
            raise UserError(
                f"{self._root} has vanished: was a disk unmounted or the store deleted? Nothing was written; "
                "bring it back and run again."
            )

    def nbytes(self, name: str) -> int:
        """Bytes of a segment on the disk."""
        if isinstance(self._location, LocalLocation):
            files = (self._location.path / name).rglob("*")
            return sum(file.stat().st_size for file in files if file.is_file())
        return int(self._location.filesystem.du(f"{self._location.path}/{name}"))

    def write_description(self, data: bytes) -> None:
        """Writes the store's store.json, whole or not at all."""
        if isinstance(self._root, LocalLocation):
            with new_file(self._root.path / STORE_FILE) as temporary:
                temporary.write_bytes(data)
            return
        with writing(self._root):
            self._root.filesystem.makedirs(self._root.path, exist_ok=True)
            self._root.filesystem.pipe_file(f"{self._root.path}/store.json", data)

    @property
    def _scratch(self) -> Path:
        assert isinstance(self._root, LocalLocation)
        return self._root.path / "scratch"

    def _upload(self, folder: Path, name: str) -> None:
        assert isinstance(self._location, RemoteLocation)
        filesystem, target = self._location.filesystem, f"{self._location.path}/{name}"
        files = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
        files.sort(key=lambda file: file == Path("zarr.json"))
        try:
            with writing(target):
                for file in files:
                    filesystem.makedirs(f"{target}/{file.parent}", exist_ok=True)
                    filesystem.put_file(str(folder / file), f"{target}/{file}")
        except NotImplementedError:
            raise UserError(f"{self._root} can be read but not written: choose a local store and merge it.") from None


def _locked(descriptor: int, store: LocalLocation) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreBusy(store) from None
    except OSError:
        return False
    return True


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
    """Whose rows a store holds: its store.json.

    Attributes:
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
            CHECKSUM: "00000000",
        }
        return seal(document)

    def foreign(self, group: RowGroup) -> Damage | None:
        """Says of a segment with rows of another tower or format that it does not belong here."""
        theirs = (group.description.get("modality"), group.description.get("fingerprint"), group.format)
        if theirs == (self.modality, self.fingerprint, self.format):
            return None
        what = f"{theirs[0]} of fingerprint {theirs[1]}, {theirs[2]}"
        return Damage("zarr.json", (0, len(group)), f"belongs to another store (it holds {what})")

    @classmethod
    def read(cls, location: Location) -> StoreDescription:
        """Reads that of the store at a location.

        Raises:
            UserError: there is no store, or one of another version.
            DamageError: the file does not match its checksum, or is missing where there are segments.
        """
        try:
            data = location.read(STORE_FILE)
        except (FileNotFoundError, NotADirectoryError):
            if "segments" in location.names():
                raise DamageError([Damage(STORE_FILE, None, "is missing")]) from None
            raise UserError(f"{location} is no row store of hearonce (it has no {STORE_FILE}).") from None
        found = unseal(data, STORE_FILE)
        check_schema(found, f"{location}/{STORE_FILE}", "row store")
        identity = found.get("identity")
        try:
            check_tower(found.get("modality"), found.get("fingerprint"))
            if not isinstance(found.get("format"), dict) or not isinstance(identity, dict):
                raise UserError("It does not say what its rows look like, or what they were made of.")
            return cls(found["modality"], found["fingerprint"], RowFormat.from_json(found["format"]), identity)
        except UserError as error:
            raise UserError(f"{location}/{STORE_FILE} is no description of a row store of hearonce: {error}") from None
