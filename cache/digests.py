"""Digests of files and folders, remembered by path, size, time and inode, so that nothing is read twice.

Remote objects are remembered by what their servers say of them, and what their headers hold by their digests.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import threading
from pathlib import Path

from cache.durable import make_folder, share

DIGEST_BYTES = 16
_TABLES = (
    "digests (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, digest TEXT)",
    "remote (identity TEXT PRIMARY KEY, size INTEGER, version TEXT, digest TEXT)",
    "facts (digest TEXT, kind TEXT, text TEXT, PRIMARY KEY (digest, kind))",
)


class DigestMemory:
    """A small SQLite table of digests. Safe to share between threads and processes; losing it costs only time.

    Without a file, or where it cannot be used (a read-only or full disk, no SQLite file), digests are remembered in
    memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        if path is None:
            self._connection = _connected(":memory:")
            return
        try:
            make_folder(path.parent)
            self._connection = _connected(path)
            share(path)  # what SQLite writes beside it has the same permissions
        except (OSError, sqlite3.DatabaseError):
            self._connection = _connected(":memory:")

    def digest(self, path: Path) -> str:
        """Digest of a file's bytes, or of the names and bytes of the files in a folder: BLAKE2b-128, 32 hex digits.

        Subfolders and hidden files play no part.

        Raises:
            OSError: the file or folder cannot be read.
        """
        absolute = os.path.abspath(path)
        before = _stamp(absolute)
        rows = self._execute(
            "SELECT digest FROM digests WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?", (absolute, *before)
        )
        if rows:
            return rows[0][0]
        value = (_folder_digest if os.path.isdir(absolute) else _file_digest)(absolute).hex()
        if _stamp(absolute) == before:
            self._execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", (absolute, *before, value))
        return value

    def recall(self, identity: str, size: int | None, version: str) -> str | None:
        """The digest of a remote object, None if it has not been fetched in this size and version.

        Args:
            identity: names the object.
            size: in bytes, None if its server does not say.
            version: its ETag or time of its last change.
        """
        rows = self._execute(
            "SELECT digest FROM remote WHERE identity = ? AND size IS ? AND version = ?", (identity, size, version)
        )
        return rows[0][0] if rows else None

    def remember(self, identity: str, size: int | None, version: str, digest: str) -> None:
        """Keeps the digest of a remote object that has been fetched; see `recall`."""
        self._execute("INSERT OR REPLACE INTO remote VALUES (?, ?, ?, ?)", (identity, size, version, digest))

    def recall_facts(self, digest: str, kind: str) -> str | None:
        """What has been found out about the bytes of this digest, None if that has not been done."""
        rows = self._execute("SELECT text FROM facts WHERE digest = ? AND kind = ?", (digest, kind))
        return rows[0][0] if rows else None

    def remember_facts(self, digest: str, kind: str, text: str) -> None:
        """Keeps what has been found out about some bytes, so that they need not be fetched for it again."""
        self._execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (digest, kind, text))

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[str, ...]]:
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.DatabaseError:
                self._connection.close()
                self._connection = _connected(":memory:")
                return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Closes the table."""
        self._connection.close()


def _stamp(path: str) -> tuple[int, int, int]:
    """Size, modification time and inode: of a folder all bytes, a hash of what its files' say, and its own inode."""
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size, status.st_mtime_ns, status.st_ino
    size, listing = 0, hashlib.blake2b(digest_size=8)
    for entry in _files(path):
        one = entry.stat()
        size += one.st_size
        listing.update(repr((entry.name, one.st_size, one.st_mtime_ns, one.st_ino)).encode(errors="surrogateescape"))
    return size, int.from_bytes(listing.digest(), "big") >> 1, status.st_ino


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


def _connected(path: Path | str) -> sqlite3.Connection:
    # In autocommit mode: each statement is a transaction of its own.
    connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
    try:
        for table in _TABLES:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
