"""Gets the files of a catalogue entry: from the user's disk or from where they are published."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from cache.durable import new_file, remove, sync
from cache.errors import UserError, writing
from pipeline.checkpoints import drive, hub
from pipeline.checkpoints.catalogue import Entry, Place, PlaceError, stand_in_at
from pipeline.checkpoints.official import LOCK, Record, measured, record, recorded, same, scratch
from pipeline.remote.download import TransferError
from pipeline.remote.download import fetch as download


@dataclass(frozen=True)
class Fetched:
    """One file that is there now.

    Attributes:
        path: where, relative to the project.
        record: its bytes.
        news: what was done for it.
    """

    path: Path
    record: Record
    news: str


@dataclass(frozen=True)
class Fetching:
    """Gets one catalogue entry.

    Args:
        name: of the entry.
        entry: what to get.
        weights: also the weights of a text tower.
        given: a file or folder of the user's, instead of the published places.
        accept_changed: record other bytes than the recorded ones instead of refusing them.
    """

    name: str
    entry: Entry
    weights: bool = False
    given: Path | None = None
    accept_changed: bool = False

    def run(self) -> Iterator[Fetched]:
        """Gets file after file; each is in its place when it is yielded.

        Raises:
            UserError: a file cannot be had (says from where to download what, and where to put it), or is not the one
                that `checkpoints.lock.yaml` knows.
        """
        choices = self.entry.choices(self.weights)
        if choices:
            for names in choices:
                fetched = self._one(names)
                record({fetched.path: fetched.record})
                yield fetched
            return
        known = {}
        for name in self._contents():
            fetched = self._one([name])
            known[fetched.path] = fetched.record
            yield fetched
        record(known)  # all at once, so that the lock file knows either nothing of a Drive folder or all of it

    def _contents(self) -> list[str]:
        """Names of all files of a Drive folder."""
        folder = self.entry.path
        known = [path for path, one in recorded().items() if one.name == self.name]
        if known and all(Path(path).is_file() for path in known):
            return [Path(path).relative_to(folder).as_posix() for path in known]
        if self.given is not None:
            base = self._given_folder(self.given)
            return [one.relative_to(base).as_posix() for one in sorted(base.rglob("*")) if one.is_file()]
        reasons = []
        for place in self.entry.places:
            try:
                return sorted(drive.listing(str(place.drive_folder)))
            except PlaceError as error:
                reasons.append(str(error))
        raise self._not_to_be_had(reasons)

    def _one(self, names: list[str]) -> Fetched:
        """Gets the first that is published of several files."""
        for name in names:
            if self.entry.target(name).is_file():
                return self._in_place(self.entry.target(name))
        if self.given is not None:
            return self._given(names, self.given)
        reasons = []
        for name in names:
            absent = True
            for place in self.entry.places:
                try:
                    return self._published(name, place)
                except PlaceError as error:
                    reasons.append(str(error))
                    absent = absent and error.absent
            if not absent:
                break
        raise self._not_to_be_had(reasons)

    def _in_place(self, target: Path) -> Fetched:
        if wrong := stand_in_at(target):
            raise UserError(f"{target} is {wrong}: delete it and fetch it again.")
        found = measured(target, self.name, "found there")
        before = recorded().get(target.as_posix())
        if before is not None and same(before, found):
            return Fetched(target, before, "already there")
        self._check(target, str(target), found, "delete it to fetch it again, or")
        return Fetched(target, found, "was there, recorded now")

    def _given(self, names: list[str], given: Path) -> Fetched:
        if given.is_file() and self.entry.file is not None:
            return self._copied(given, self.entry.path)
        base = self._given_folder(given)
        for name in names:
            fetched = base.glob(f"{escape(Path(name).name)}[?]*")  # `wget` leaves `?dl=1` in the name
            for place in (base / name, base / Path(name).name, *sorted(fetched)):
                if place.is_file():
                    return self._copied(place, self.entry.target(name))
        raise UserError(f"{base} has no {' or '.join(names)}, which {self.name} needs.")

    def _given_folder(self, given: Path) -> Path:
        inner = given / self.entry.path.name
        if self.entry.folder is not None and inner.is_dir():
            return inner
        if not given.exists():
            raise UserError(f"--from {given}: there is no such file or folder.")
        if not given.is_dir():
            raise UserError(f"--from {given} must be a folder: {self.name} consists of several files.")
        return given

    def _published(self, name: str, place: Place) -> Fetched:
        target, source = self.entry.target(name), place.address(name, self.entry.folder is not None)
        with scratch(target) as folder:
            try:
                found = self._download(name, place, source, folder)
            except PlaceError as error:
                if error.absent:
                    remove(folder)
                raise
            if wrong := stand_in_at(found):
                remove(folder)
                raise PlaceError(f"{source} gives {wrong}")
            if folder.resolve() not in found.resolve().parents:  # the hub cache's own
                return self._copied(found, target, source)
            made = measured(found, self.name, source)
            try:
                self._check(target, source, made, "if that is meant,")
            except UserError:
                remove(folder)
                raise
            with writing(target):
                sync(found)
            with new_file(target) as temporary:
                os.replace(found, temporary)
            remove(folder)
        return Fetched(target, made, f"fetched from {source}")

    def _download(self, name: str, place: Place, source: str, folder: Path) -> Path:
        if place.url is not None:
            try:
                return download(source, folder, name, stand_in_at)
            except TransferError as error:
                raise PlaceError(str(error), error.absent) from None
        if place.hub is not None:
            return hub.fetch(place.hub, place.path or name, place.revision, folder, name)
        file_id = place.drive or drive.id_of(str(place.drive_folder), place.path or name)
        return drive.fetch(file_id, folder, name)

    def _copied(self, file: Path, target: Path, source: str | None = None) -> Fetched:
        if wrong := stand_in_at(file):
            raise UserError(f"{file} is {wrong}: it was not taken.")
        with new_file(target) as temporary:
            shutil.copyfile(file, temporary)
            made = measured(temporary, self.name, source or file.name)
            self._check(target, str(file), made, "if that is meant,")
        return Fetched(target, made, f"copied from {file}")

    def _check(self, target: Path, origin: str, found: Record, remedy: str) -> None:
        """Refuses other bytes than those that are recorded."""
        before = recorded().get(target.as_posix())
        if before is None or same(before, found) or self.accept_changed:
            return
        raise UserError(
            f"{origin} is not the file that {LOCK} knows as {target}: {found.size} bytes with sha256 "
            f"{found.sha256[:12]}…, recorded on {before.date} were {before.size} with {before.sha256[:12]}…; {remedy} "
            f"record the new one with `hearonce checkpoints fetch {self.name} --accept-changed`."
        )

    def _not_to_be_had(self, reasons: list[str]) -> UserError:
        """Says what to download by hand, from where, and where to put it."""
        missing = [
            " or ".join(names)
            for names in self.entry.choices(self.weights)
            if not any(self.entry.target(name).is_file() for name in names)
        ]
        where = " or ".join(place.address(self.entry.file, False) for place in self.entry.places)
        kind, place = ("FOLDER", f"into {self.entry.path}/") if self.entry.folder else ("FILE", f"to {self.entry.path}")
        return UserError(
            f"{self.name} cannot be fetched now ({'; '.join(dict.fromkeys(reasons))}): run again later, or download "
            f"{', '.join(missing) or 'all files'} from {where} {place}, or give what you downloaded with "
            f"`hearonce checkpoints fetch {self.name} --from {kind}`."
        )
