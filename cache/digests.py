"""Digests of files and folders, remembered by path, size, times and inode, so that nothing is read twice.

Remote objects are remembered by what their servers say of them, and what their headers hold by their digests. Each row
carries a CRC-32C of itself: SQLite has none, and one flipped bit would give another file's digest. A row that does not
fit counts as unknown; a database that SQLite cannot read is renamed and begun anew.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from google_crc32c import value as crc32c

from cache.durable import make_folder, share
from cache.errors import Damage

DIGEST_BYTES = 16
TICK_NS = 20_000_000
"""A file system's clock stands still for less than this (a tick of the kernel is 1 to 10 ms)."""
COARSE_NS = 2_000_000_000
"""The same where times are whole seconds (HFS+, NFSv3) or even ones (FAT)."""

DAMAGED = ".damaged"
"""Is added to the name of a database that cannot be read."""

_ATTEMPTS = 5
"""Where nothing but the ctime changes, as when a hard link to a file is made or removed, it is digested again."""

_TABLE = (
    "remembered (kind TEXT, name, version TEXT, value TEXT, crc32c INTEGER, PRIMARY KEY (kind, name)) WITHOUT ROWID"
)
_FILE, _REMOTE, _FACTS = "file", "remote", "facts "
_BROKEN = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""What SQLite answers to statements that are right when the file (or its list of tables) is damaged."""
_FOREIGN = re.compile(r"[0-9a-f]{32}")

logger = logging.getLogger("hearonce.run")


class Stamp(NamedTuple):
    """What changes when a file or folder does.

    Attributes:
        size: in bytes, of a folder that of all its files.
        mtime_ns: of the last write; of a folder a hash of the names, sizes, times and inodes of its files.
        ctime_ns: when the kernel last saw it change, which no program can set; of a folder the latest of all.
        inode: its number.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True)
class FileState:
    """A file or folder as it was read.

    Attributes:
        digest: of its bytes (32 hex digits).
        stamp: that it had; any later change gives another one.
    """

    digest: str
    stamp: Stamp


class DigestMemory:
    """A small SQLite table of digests. Safe to share between threads and processes; losing it costs only time.

    Without a file, or where it cannot be used (a read-only or full disk), digests are remembered in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._path = path
        self._connection = _opened(path)

    def digest(self, path: Path) -> str:
        """Digest of a file's bytes, or of the names and bytes of the files in a folder: BLAKE2b-128, 32 hex digits.

        Subfolders and hidden files play no part.

        Raises:
            OSError: the file or folder cannot be read, or changes meanwhile.
        """
        return self.examine(path).digest

    def examine(self, path: Path, stamp: Stamp | None = None) -> FileState:
        """The digest as of `digest`, and the stamp that goes with it.

        Args:
            path: of the file or folder.
            stamp: that it has; read if None.

        Raises:
            OSError: as of `digest`.
        """
        absolute = os.path.abspath(path)
        stamp = stamp or stamp_of(absolute)
        known = self._recall(_FILE, absolute, _text(stamp))
        if known is not None:
            return FileState(known, stamp)
        for _ in range(_ATTEMPTS):
            _settle(stamp)
            value = (_folder_digest if os.path.isdir(absolute) else _file_digest)(absolute).hex()
            before, stamp = stamp, stamp_of(absolute)
            if stamp == before:
                self._remember(_FILE, absolute, _text(stamp), value)
                return FileState(value, stamp)
            if stamp._replace(ctime_ns=before.ctime_ns) != before:
                break
        raise OSError(errno.EBUSY, "changed while it was being read: run again when it is whole", absolute)

    def recall(self, identity: str, size: int | None, version: str) -> str | None:
        """The digest of a remote object, None if it has not been fetched in this size and version.

        Args:
            identity: names the object.
            size: in bytes, None if its server does not say.
            version: its ETag or time of its last change.
        """
        return self._recall(_REMOTE, identity, f"{size} {version}")

    def remember(self, identity: str, size: int | None, version: str, digest: str) -> None:
        """Keeps the digest of a remote object that has been fetched; see `recall`."""
        self._remember(_REMOTE, identity, f"{size} {version}", digest)

    def recall_facts(self, digest: str, kind: str) -> str | None:
        """What has been found out about the bytes of this digest, None if that has not been done."""
        return self._recall(_FACTS + kind, digest, "")

    def remember_facts(self, digest: str, kind: str, text: str) -> None:
        """Keeps what has been found out about some bytes, so that they need not be fetched for it again."""
        self._remember(_FACTS + kind, digest, "", text)

    def remember_all_facts(self, kind: str, texts: Mapping[str, str]) -> None:
        """As `remember_facts` of some hundred digests at once, which takes little longer than one."""
        if texts:
            values = ", ".join(["(?, ?, ?, ?, ?)"] * len(texts))
            rows = [value for digest, text in texts.items() for value in _row(_FACTS + kind, digest, "", text)]
            self._execute(f"INSERT OR REPLACE INTO remembered VALUES {values}", tuple(rows))

    def _recall(self, kind: str, name: str, version: str) -> str | None:
        wanted = "SELECT kind, name, version, value, crc32c FROM remembered WHERE kind = ? AND name = ?"
        for row in self._execute(wanted, (kind, _bound(name))):
            if row[4] == _checksum(*row[:4]) and row[:3] == (kind, _bound(name), version):
                return row[3]
        return None

    def _remember(self, kind: str, name: str, version: str, value: str) -> None:
        self._execute("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?, ?)", _row(kind, name, version, value))

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                self._connection.close()
                self._connection = _opened(self._path, error)
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.DatabaseError:
                self._connection.close()
                self._connection = _connected(":memory:")
                return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Closes the table."""
        self._connection.close()


def stamp_of(path: str | Path) -> Stamp:
    """The stamp of a file or folder, links followed.

    Raises:
        OSError: there is none, or it is neither a file nor a folder.
    """
    status = os.stat(path)
    if stat.S_ISREG(status.st_mode):
        return _stamp(status)
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return stamps_in(path)[0]


def stamps_in(folder: str | Path) -> tuple[Stamp, dict[str, Stamp]]:
    """The stamp of a folder, and of each file that it is made of, by name.

    Raises:
        OSError: it cannot be read.
    """
    status = os.stat(folder)
    found = {entry.name: _stamp(entry.stat()) for entry in _files(os.fspath(folder))}
    size = sum(status.size for status in found.values())
    latest = max([status.st_ctime_ns, *(status.ctime_ns for status in found.values())])
    listing = repr(list(found.items())).encode(errors="backslashreplace")
    digest = hashlib.blake2b(listing, digest_size=8).digest()
    return Stamp(size, int.from_bytes(digest, "big"), latest, status.st_ino), found


def own_stamp(folder: str | Path) -> Stamp:
    """The stamp of a folder itself, which changes when a file in it is added, removed or renamed.

    Raises:
        OSError: it cannot be read.
    """
    return _stamp(os.stat(folder))


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp._make((status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))


def _settle(stamp: Stamp) -> None:
    """Waits until a write would be given a later time than the last one, which was a moment ago.

    A time in the future, from a clock that was set back or is another machine's, is no later write's time either.
    """
    still = COARSE_NS if stamp.ctime_ns % 1_000_000_000 == 0 else TICK_NS
    left = stamp.ctime_ns + still - time.time_ns()
    if 0 < left <= still:
        time.sleep(left / 1e9)


def _files(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    return sorted(found, key=lambda entry: os.fsencode(entry.name))


def _file_digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).digest()


def _folder_digest(path: str) -> bytes:
    whole = hashlib.blake2b(digest_size=DIGEST_BYTES, person=b"folder")
    for entry in _files(path):
        name = os.fsencode(entry.name)
        whole.update(len(name).to_bytes(4, "big") + name + _file_digest(entry.path))
    return whole.digest()


def _text(stamp: Stamp) -> str:
    return " ".join(map(str, stamp))


def _bound(name: str) -> str | bytes:
    """A name as SQLite takes it: bytes where it is not UTF-8."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return os.fsencode(name)


def _checksum(*values: Any) -> int:
    return crc32c(repr(values).encode(errors="backslashreplace"))


def _row(kind: str, name: str, version: str, value: str) -> tuple[Any, ...]:
    values = (kind, _bound(name), version, value)
    return (*values, _checksum(*values))


def _opened(path: Path | None, error: sqlite3.DatabaseError | None = None) -> sqlite3.Connection:
    """The table in a file, begun anew where it is broken; in memory where that cannot be.

    Args:
        path: of the file, if any.
        error: of a connection to it that has failed.
    """
    if path is None:
        return _connected(":memory:")
    try:
        make_folder(path.parent)
        if error is None:
            try:
                return _connected(path)
            except sqlite3.DatabaseError as raised:
                error = raised
        if _is_broken(error) and path.is_file():
            return _begun_anew(path)
    except (OSError, sqlite3.DatabaseError):
        pass
    return _connected(":memory:")


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN


def _begun_anew(path: Path) -> sqlite3.Connection:
    """Renames a broken database, one process at a time, unless another has done so."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # NFS; then two may do so, which costs only time
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if problem := _problem(path):
            aside = path.with_name(path.name + DAMAGED)
            os.replace(path, aside)
            for ending in ("-journal", "-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
            facts = {"path": str(path), "moved_to": str(aside), "reason": problem}
            logger.warning("remembered digests are damaged and begun anew", extra={"facts": facts})
        return _connected(path)
    finally:
        os.close(descriptor)


def _problem(path: Path) -> str:
    """What SQLite says against a database; nothing if it is whole."""
    try:
        with closing(_connected(path)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            return "" if found == "ok" else str(found)
    except sqlite3.DatabaseError as error:
        return str(error) if _is_broken(error) else ""


def _connected(path: Path | str) -> sqlite3.Connection:
    # In autocommit mode: each statement is a transaction of its own.
    connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
    connection.text_factory = lambda data: data.decode(errors="replace")
    try:
        connection.execute("PRAGMA synchronous = OFF")  # what a power cut breaks is found, and costs only time
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'remembered'").fetchall():
            earlier = _earlier(connection)
            connection.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE}")
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR IGNORE INTO remembered VALUES (?, ?, ?, ?, ?)", earlier)
            connection.execute("COMMIT")
        connection.execute("SELECT kind, name, version, value, crc32c FROM remembered LIMIT 1").fetchall()
        if isinstance(path, Path):
            share(path)  # what SQLite writes beside it has the same permissions
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _earlier(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """What earlier versions recorded of remote media, which would otherwise be fetched again.

    Their digests of local files had no ctime, and are computed once more. Their tables stay, for those versions.
    """
    rows: list[tuple[Any, ...]] = []
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if "remote" in names:
        for identity, size, version, digest in connection.execute("SELECT * FROM remote"):
            if _FOREIGN.fullmatch(str(digest)):
                rows.append(_row(_REMOTE, identity, f"{size} {version}", digest))
    if "facts" in names:
        for digest, kind, text in connection.execute("SELECT * FROM facts"):
            with suppress(ValueError):
                json.loads(text)
                rows.append(_row(_FACTS + kind, digest, "", text))
    return rows


def verify(path: Path) -> list[Damage]:
    """Reads a whole file of remembered digests and lists what is damaged; none of it is ever believed."""
    if not path.is_file():
        return []
    cost = "that file is read again"
    try:
        if problem := _problem(path):
            reason = f"is a damaged database ({problem}): it is renamed and begun anew, and all files are read again"
            return [Damage(path.name, None, reason)]
        with closing(_connected(path)) as connection:
            damaged = [row[1] for row in _all(connection) if row[4] != _checksum(*row[:4])]
    except sqlite3.DatabaseError as error:
        return [Damage(path.name, None, f"cannot be read ({error}): all files are read again")]
    return [Damage(path.name, None, f"{name!r} does not match its checksum: {cost}") for name in damaged]


def repair(path: Path) -> None:
    """Forgets what is damaged in a file of remembered digests."""
    if not path.is_file():
        return
    if _problem(path):
        _begun_anew(path).close()
    with suppress(sqlite3.DatabaseError), closing(_connected(path)) as connection:
        _forget(connection, [row[:2] for row in _all(connection) if row[4] != _checksum(*row[:4])])


def forget_absent(path: Path, *, dry_run: bool = False) -> int:
    """Forgets files that are gone from folders that are there (those of a disk that is not mounted stay): how many."""
    if not path.is_file() or _problem(path):
        return 0
    with suppress(sqlite3.DatabaseError), closing(_connected(path)) as connection:
        files = [row[:2] for row in _all(connection) if row[0] == _FILE]
        gone = [row for row in files if not os.path.lexists(row[1]) and os.path.isdir(os.path.dirname(row[1]))]
        if not dry_run:
            _forget(connection, gone)
        return len(gone)
    return 0


def _all(connection: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    yield from connection.execute("SELECT kind, name, version, value, crc32c FROM remembered")


def _forget(connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    connection.executemany("DELETE FROM remembered WHERE kind = ? AND name = ?", rows)
