"""Digests of files, remembered by path, size, modification time and inode, so that nothing is read twice."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from pathlib import Path

DIGEST_BYTES = 16


class DigestMemory:
    """A small SQLite table of digests. Safe to share between threads and processes; losing it costs only time.

    Where the file cannot be used (a read-only or full disk, no SQLite file), digests are remembered in memory.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connected(path)
        except (OSError, sqlite3.DatabaseError):
            self._connection = _connected(":memory:")

    def digest(self, path: Path) -> str:
        """Digest of the file's bytes: BLAKE2b-128, 32 hex digits.

        Raises:
            OSError: the file cannot be read.
        """
        absolute = os.path.abspath(path)
        before = os.stat(absolute)
        rows = self._execute(
            "SELECT digest FROM digests WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?",
            (absolute, before.st_size, before.st_mtime_ns, before.st_ino),
        )
        if rows:
            return rows[0][0]
        with open(absolute, "rb") as file:
            value = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()
        after = os.stat(absolute)
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            self._execute(
                "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)",
                (absolute, after.st_size, after.st_mtime_ns, after.st_ino, value),
            )
        return value

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


def _connected(path: Path | str) -> sqlite3.Connection:
    # In autocommit mode: each statement is a transaction of its own.
    connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS digests ("
            "path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, digest TEXT)"
        )
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
