"""Writes that survive a power cut: everything is on the disk before its name appears."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Makes every file and directory below `path` durable."""
    for folder, _, files in os.walk(path):
        for name in files:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(folder))


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same directory; on success it is synced and takes the place of `path`.

    The old file, if any, is replaced, never written into: it may be a link into DVC's cache.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.part"
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_directory(path: Path, scratch: Path | None = None) -> Iterator[Path]:
    """Yields a temporary directory; on success it is synced and renamed to `path`, replacing what stood there.

    Args:
        path: the final place.
        scratch: where the temporary directory stands, on the same file system; beside `path` by default.
    """
    scratch = scratch or path.parent
    scratch.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = scratch / f".{path.name}.{uuid.uuid4().hex[:12]}.part"
    temporary.mkdir()
    try:
        yield temporary
        sync_tree(temporary)
        if path.exists():
            shutil.rmtree(path)
        os.rename(temporary, path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
