"""`hearonce list-media URL -o media.csv`: what lies at an address, as a small file that DVC can watch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import UserError
from pipeline.console.text import visible
from pipeline.media.containers import SUFFIXES
from pipeline.media.media_list import SCHEMA, names_of, read_media_list, shard_urls, write_media_list
from pipeline.media.tar_files import SUFFIX as TAR
from pipeline.media.tar_files import is_shard
from pipeline.remote.address import RemoteFile, is_url, shown
from pipeline.remote.braces import expanded
from pipeline.remote.staging import ask_each, find_media
from stages.ingest import listing


def list_media(
    source: Annotated[
        str,
        typer.Argument(
            help="s3://bucket/prefix, gs://..., shards ({00000..00012}.tar), or a file with URLs: one a line, a media "
            "list, or a caption file."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The list: CSV, TSV or Parquet.")],
) -> None:
    """Write a media list: where each medium lies, its size and ETag. List again to see what has changed."""
    files, faults = files_of(source)
    for name, reason in faults[:3]:
        print(visible(f"{name}: {reason}"))
    if len(faults) > 3:
        print(f"... and {len(faults) - 3} more that cannot be had now")
    count = write_media_list(output, files)
    size = sum(one.size or 0 for one in files) / 1e9
    print(f"{output}: {count} media, {size:.2f} GB. Name it as `media:` of a corpus in params.yaml.")


def local_shards(source: str) -> list[RemoteFile]:
    """The tar files of this machine that a path with or without braces stands for, as rows of a media list.

    Raises:
        UserError: one does not exist.
    """
    found = []
    paths = [Path(path) for path in expanded(source)]
    common = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    for path in paths:
        if not path.is_file():
            raise UserError(f"The shard {path} does not exist.")
        status = path.stat()
        version = f"{status.st_size:x}-{status.st_mtime_ns:x}"
        name = path.absolute().relative_to(common).as_posix()
        found.append(RemoteFile(f"file://{path.absolute()}", name, status.st_size, version))
    return found


def files_of(source: str) -> tuple[list[RemoteFile], list[tuple[str, str]]]:
    """The media that an address, or a file with URLs, stands for, with size and version.

    Returns:
        (the media, (name, reason) of those that cannot be had now).

    Raises:
        UserError: there are none, or it cannot be read or listed.
    """
    if is_url(source) and is_shard(source):
        urls = shard_urls(source)
        return ask_each([RemoteFile(url, name) for url, name in zip(urls, names_of(urls), strict=True)], "list-media")
    if is_url(source):
        found = find_media(source, SUFFIXES) or find_media(source, {TAR})
        if not found:
            raise UserError(f"{shown(source)} holds no media file and no shard (.tar), by suffix.")
        return found, []
    path = Path(source)
    if is_shard(source) and not path.is_dir():
        return local_shards(source), []
    if path.is_dir():
        raise UserError(f"{path} is a folder of this machine: name it as `media:` itself, it needs no list.")
    if not path.is_file():
        raise UserError(f"{path} does not exist: give a URL such as s3://bucket/prefix, or a file with URLs.")
    urls = listing.urls_in(path) if listing.is_listing(path) else []
    if urls:
        named = [RemoteFile(url, name) for url, name in zip(urls, names_of(urls), strict=True)]
    else:
        frame = read_media_list(path)
        named = [RemoteFile(url, name) for name, url in frame.select(*list(SCHEMA)[:2]).iter_rows()]
    return ask_each(named, f"list-media {path}")
