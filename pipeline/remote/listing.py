"""What lies where: the media below an address, and size and version of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from cache.errors import UserError
from pipeline.in_threads import each_in_threads
from pipeline.media.errors import MediaError
from pipeline.progress import progress
from pipeline.remote.address import RemoteFile, is_http, shown
from pipeline.remote.faults import fault_of
from pipeline.remote.reading import open_filesystem, size_of, version_of
from pipeline.remote.staging import resolved

ASKING = 32
"""Questions to servers at the same time."""


def find_media(url: str, suffixes: Collection[str]) -> list[RemoteFile]:
    """The files below an address that end like media, by their paths below it; hidden ones are left out.

    Args:
        url: `s3://bucket/prefix`, `gs://...`, or whatever else fsspec can list.
        suffixes: endings of media, in small letters.

    Raises:
        UserError: it cannot be listed.
    """
    if is_http(url):
        raise UserError(
            f"{shown(url)}: a web server does not say what it has: write the URLs into a text file, one a line, and "
            "give that file instead."
        )
    try:
        system, root = open_filesystem(url)
        details = system.find(root, detail=True)
    except Exception as error:  # whatever library lies below fsspec
        raise UserError(f"{fault_of(error, url).reason(url)}.") from None
    found = []
    for path, info in sorted(details.items()):
        name = PurePosixPath(path).name if path == root else path.removeprefix(root).lstrip("/")
        hidden = any(part.startswith(".") for part in name.split("/"))
        if PurePosixPath(name).suffix.lower() in suffixes and not hidden:
            found.append(RemoteFile(system.unstrip_protocol(path), name, size_of(info), version_of(info)))
    return found


def ask_each(files: Sequence[RemoteFile], label: str) -> tuple[list[RemoteFile], list[tuple[str, str]]]:
    """Asks the servers of some files for size and version.

    Returns:
        (the files with what was answered, (name, reason) of those that cannot be had now).
    """
    answered, faults = [], []

    def ask(file: RemoteFile) -> RemoteFile | str:
        try:
            return resolved(RemoteFile(file.url, file.name))
        except MediaError as error:
            return str(error)

    with progress(label, len(files), "media") as advance, each_in_threads(ask, files, ASKING) as answers:
        for file, answer in zip(files, answers, strict=True):
            if isinstance(answer, str):
                faults.append((file.name, answer))
                answer = RemoteFile(file.url, file.name)
            answered.append(answer)
            advance()
    return answered, faults
