"""Writes that survive a power cut: everything is on the disk before its name appears."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from cache.errors import writing

FORGOTTEN_SECONDS = 24 * 3600.0
"""After this long without a change, what a writer on another machine has begun counts as abandoned."""


def sync(path: Path) -> None:
    """Makes the bytes of a file, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Makes every file and directory below `path` durable."""
    for folder, _, files in os.walk(path):
        for name in files:
            sync(Path(folder, name))
        sync(Path(folder))


@cache
def _machine() -> str:
    """Names this boot of this machine (or container), within which a process id means something."""
    parts = [socket.gethostname()]
    for source in (Path("/proc/sys/kernel/random/boot_id").read_text, lambda: os.readlink("/proc/self/ns/pid")):
        try:
            parts.append(source())
        except OSError:
            continue
    return hashlib.blake2b("|".join(parts).encode(), digest_size=4).hexdigest()


def _temporary(scratch: Path, name: str) -> Path:
    """A path for something unfinished, which says whose it is."""
    return scratch / f".{name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:12]}.part"


def clean_abandoned(scratch: Path, name: str = "") -> None:
    """Removes what dead writers have left unfinished in a folder; never what a living one may still be writing.

    Args:
        scratch: the folder.
        name: only what was to become this file or folder; everything by default.
    """
    for path in scratch.glob(f".{name}.*.part" if name else ".*.part"):
        machine, pid, _ = (path.name.removesuffix(".part").rsplit(".", 1)[-1] + "--").split("-")[:3]
        if machine == _machine() and pid.isdigit():
            dead = not is_alive(int(pid))
        else:
            dead = time.time() - _last_change(path) > FORGOTTEN_SECONDS
        if dead:
            remove(path)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _last_change(path: Path) -> float:
    newest = 0.0
    for one in (path, *path.rglob("*")):
        try:
            newest = max(newest, one.stat().st_mtime)
        except OSError:
            continue
    return newest


def remove(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path, *, clean: bool = True) -> Iterator[Path]:
    """Yields a temporary path in the same directory; on success it is synced and takes the place of `path`.

    The old file (or empty folder), if any, is replaced, never written into: it may be a link into DVC's cache.

    Args:
        path: the file.
        clean: first looks through the folder for what dead writers have left of this file; who writes many files into
            one folder does that once for all (`clean_abandoned`).

    Raises:
        UserError: the disk is full or read-only, the folder is gone, or `path` is a folder with something in it;
            nothing is written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if clean:
            clean_abandoned(path.parent, path.name)
        temporary = _temporary(path.parent, path.name)
        try:
            yield temporary
            sync(temporary)
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            remove(temporary)


@contextmanager
def new_directory(path: Path, scratch: Path | None = None) -> Iterator[Path]:
    """Yields a temporary directory; on success it is synced and renamed to `path`, replacing what stood there.

    Args:
        path: the final place; its folder is made if there is none, unless `scratch` is given.
        scratch: where the temporary directory stands, on the same file system; beside `path` by default.

    Raises:
        UserError: the disk is full or read-only, or the folder is gone; nothing is written.
    """
    with writing(path):
        path.parent.mkdir(parents=scratch is None, exist_ok=True)
        if scratch is None:
            scratch = path.parent
            clean_abandoned(scratch, path.name)
        scratch.mkdir(exist_ok=True)
        temporary = _temporary(scratch, path.name)
        temporary.mkdir()
        try:
            yield temporary
            sync_tree(temporary)
            if path.exists() or path.is_symlink():
                os.rename(path, displaced := _temporary(scratch, path.name))
                os.rename(temporary, path)
                remove(displaced)
            else:
                os.rename(temporary, path)
            sync(path.parent)
        finally:
            remove(temporary)
