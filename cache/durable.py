"""Writes that survive a power cut, and what dead writers have left unfinished."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def share(path: Path) -> None:
    """Gives a new file or folder, and all below, the permissions of its folder for the group, if a group shares that.

    A file system that has no such permissions is no reason to fail.
    """
    mode = _group_mode(path.parent)
    if mode is None:
        return
    _share(path, mode)
    for folder, folders, files in os.walk(path) if path.is_dir() and not path.is_symlink() else ():
        for name in (*folders, *files):
            _share(Path(folder, name), mode)


def _group_mode(folder: Path) -> int | None:
    """What the group may do in a folder that it shares: bits of 0o070; None for other folders."""
    with suppress(OSError):
        mode = folder.stat().st_mode
        if mode & stat.S_ISGID:
            return mode & stat.S_IRWXG
    return None


def _share(path: Path, group: int) -> None:
    with suppress(OSError):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return
        allowed = (stat.S_IRWXG | stat.S_ISGID) if stat.S_ISDIR(found.st_mode) else stat.S_IRGRP | stat.S_IWGRP
        mode = stat.S_IMODE(found.st_mode) & ~stat.S_IRWXG | (group | stat.S_ISGID) & allowed
        if mode != stat.S_IMODE(found.st_mode):
            os.chmod(path, mode)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, unless they are there, each as `share` says.

    Raises:
        OSError: the disk refuses.
    """
    missing = []
    for folder in (path, *path.parents):
        if folder.is_dir():
            break
        missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        share_folder(folder)
    path.mkdir(exist_ok=True)  # says what stands there instead


def share_folder(folder: Path) -> None:
    """`share` of a folder alone."""
    mode = _group_mode(folder.parent)
    if mode is not None:
        _share(folder, mode)


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


def own_folder(scratch: Path, name: str) -> Path:
    """A new folder of this process alone; `clean_abandoned` removes it once the process is dead.

    Raises:
        UserError: it cannot be made.
    """
    with writing(scratch):
        make_folder(scratch)
        clean_abandoned(scratch, name)
        folder = _temporary(scratch, name)
        folder.mkdir()
    return folder


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
            with suppress(OSError):  # somebody else's, who removes it
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
    for entry in (path, *path.rglob("*")):
        try:
            newest = max(newest, entry.stat().st_mtime)
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
        clean: first removes what dead writers have left of this file; a caller that writes many files into
            one folder does that once (`clean_abandoned`).

    Raises:
        UserError: the disk is full or read-only, the folder is gone, or `path` is a folder with something in it;
            nothing is written.
    """
    with writing(path):
        make_folder(path.parent)
        if clean:
            clean_abandoned(path.parent, path.name)
        temporary = _temporary(path.parent, path.name)
        try:
            yield temporary
            share(temporary)
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
        if scratch is None:
            make_folder(path.parent)
        elif not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            share_folder(path.parent)
        if scratch is None:
            scratch = path.parent
            clean_abandoned(scratch, path.name)
        if not scratch.is_dir():
            scratch.mkdir(exist_ok=True)
            share_folder(scratch)
        temporary = _temporary(scratch, path.name)
        temporary.mkdir()
        try:
            yield temporary
            share(temporary)
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
