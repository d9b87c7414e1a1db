"""What servers send instead of a file: web pages, quota notices, pointers."""

from __future__ import annotations

from pathlib import Path

HEAD_BYTES = 512
_PAGES = (b"<!doctype html", b"<html", b"<head")


def stand_in(head: bytes) -> str | None:
    """What the first bytes of a file show it to be if it is not the file itself, None if nothing is wrong with them."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself"
    if start.startswith(_PAGES):
        return "a web page, not the file itself"
    return None


def stand_in_at(path: Path) -> str | None:
    """The same of a file on the disk."""
    with path.open("rb") as file:
        return stand_in(file.read(HEAD_BYTES))
