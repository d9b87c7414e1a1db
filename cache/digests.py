"""Digests of files, remembered by path, size, modification time and inode, so that nothing is read twice."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

DIGEST_BYTES = 16


class DigestMemory:
    """A small SQLite table of digests. Safe to share between processes; losing it costs only time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS digests ("
            "path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, digest TEXT)"
        )

    def digest(self, path: Path) -> str:
        """Digest of the file's bytes: BLAKE2b-128, 32 hex digits.

        Raises:
            OSError: the file cannot be read.
        """
        absolute = os.path.abspath(path)
        before = os.stat(absolute)
        row = self._connection.execute(
            "SELECT digest FROM digests WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?",
            (absolute, before.st_size, before.st_mtime_ns, before.st_ino),
        ).fetchone()
        if row:
            return row[0]
        with open(absolute, "rb") as file:
            value = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()
        after = os.stat(absolute)
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            with self._connection:
                self._connection.execute(
                    "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)",
                    (absolute, after.st_size, after.st_mtime_ns, after.st_ino, value),
                )
        return value

    def close(self) -> None:
        """Closes the table."""
        self._connection.close()
