"""Media lists: small tables that say where each medium of a corpus lies. DVC watches the list, not the media.

A list is CSV, TSV or Parquet with a column `url` and, if you like, `path` (by which annotations call the medium),
`size` (bytes) and `etag`; or plain text with one URL a line, where that of shards may have braces. Where there is no
path, it is that of the URL below what all URLs of the list have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import polars as pl

from cache.durable import new_file
from cache.errors import UserError
from pipeline.config.records import shown_value
from pipeline.console.text import did_you_mean
from pipeline.formats.delimited import Items, open_table, records
from pipeline.formats.text import fault_of_text, read_text
from pipeline.media.tar_files import is_shard
from pipeline.remote.address import RemoteFile, is_url, location
from pipeline.remote.braces import expanded, has_braces

TABLES = (".csv", ".tsv", ".parquet")
SUFFIXES = (*TABLES, ".txt")
WHAT = "media list"
SCHEMA = {"path": pl.String, "url": pl.String, "size": pl.Int64, "etag": pl.String}


def read_media_list(path: Path) -> pl.DataFrame:
    """Reads a list into a frame of `SCHEMA`, in which every path is set and unique; size and etag may be null.

    Raises:
        UserError: it cannot be read, or a row names no URL or the same path as another.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} is no media list ({', '.join(SUFFIXES)}): `hearonce list-media` makes one.")
    frame, rows = _read_text(path) if path.suffix.lower() == ".txt" else _read_table(path)
    urls = frame["url"].to_list()
    for number, url in enumerate(urls):
        if not url or not is_url(url):
            raise UserError(
                f"{_row(path, rows[number])} names {shown_value(url) if url else 'nothing'}, which is no URL such as s3://bucket/key."
            )
    if not urls:
        raise UserError(f"{path} lists no media.")
    given = frame["path"].to_list()
    if not all(given):
        made = names_of(urls)
        given = [own or name for own, name in zip(given, made, strict=True)]
    given = [name if name.startswith("/") else PurePosixPath(name).as_posix() for name in given]
    frame = frame.with_columns(path=pl.Series(given, dtype=pl.String))
    seen: dict[str, int] = {}
    for number, name in enumerate(given):
        if name.startswith("/") or ".." in name.split("/"):
            raise UserError(
                f"{_row(path, rows[number])}: the path {shown_value(name)} must be relative and without `..`."
            )
        if seen.setdefault(name, number) != number:
            other = _row(path, rows[seen[name]])
            raise UserError(
                f"{_row(path, rows[number])} has the path {shown_value(name)} like {other}: give each its own `path`."
            )
    return frame


def write_media_list(path: Path, files: Iterable[RemoteFile]) -> int:
    """Writes a list, ordered by path, and returns how many media are in it.

    Raises:
        UserError: the ending is of no table, or it cannot be written.
    """
    if path.suffix.lower() not in TABLES:
        raise UserError(f"{path}: a media list is written as {', '.join(TABLES)}.")
    rows = [(one.name, one.url, one.size, one.version or None) for one in files]
    frame = pl.DataFrame(rows, SCHEMA, orient="row").sort("path")
    with new_file(path) as temporary:
        if path.suffix.lower() == ".parquet":
            frame.write_parquet(temporary)
        else:
            frame.write_csv(temporary, separator="\t" if path.suffix.lower() == ".tsv" else ",")
    return len(frame)


def names_of(urls: Sequence[str]) -> list[str]:
    """What media are called by their URLs alone: the part below the folder that all have in common."""
    places = [location(url) for url in urls]
    first, last = min(places).split("/"), max(places).split("/")
    common = 0
    while common < min(len(first), len(last)) - 1 and first[common] == last[common]:
        common += 1
    return ["/".join(place.split("/")[common:]).lstrip("/") for place in places]


def _read_text(path: Path) -> tuple[pl.DataFrame, Sequence[int]]:
    lines = read_text(path, WHAT).text.splitlines()
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    numbered = [(url, number) for number, line in enumerate(found, 1) for url in shard_urls(line)]
    urls = [url for url, _ in numbered]
    return pl.DataFrame({"url": urls}, {"url": pl.String}).select(**_columns(["url"])), [row for _, row in numbered]


def shard_urls(url: str) -> list[str]:
    """The URLs that one stands for: several for shards with braces, `s3://bucket/{00000..00012}.tar`."""
    return expanded(url) if is_shard(url) and has_braces(url) else [url]


def _read_table(path: Path) -> tuple[pl.DataFrame, Sequence[int]]:
    """The rows of a table, and by which number each is called."""
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path)
            rows: Sequence[int] = range(1, len(frame) + 1)
        else:
            frame, rows = _read_delimited(path)
        names = [name for name in frame.columns if name in SCHEMA]
        if "url" not in names:
            guess = "; ".join(f"{shown_value(name)}: {did_you_mean(name, list(SCHEMA))}" for name in frame.columns[:5])
            raise UserError(f"{path} has no column `url`, as a media list has. {guess}".rstrip())
        if "size" in names:
            sizes = frame["size"].cast(pl.Int64, strict=False)
            wrong = (sizes.is_null() & frame["size"].is_not_null()).arg_true()
            if len(wrong):
                size = frame["size"][wrong[0]]
                raise UserError(
                    f"{_row(path, rows[wrong[0]])}: the size {shown_value(size)} is no whole number of bytes."
                )
        return frame.select(**_columns(names)), rows
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"The media list {path} cannot be read ({reason}).") from None


def _read_delimited(path: Path) -> tuple[pl.DataFrame, list[int]]:
    """A table of text, all cells as text and empty ones as null; and the line of each row."""
    text = read_text(path, WHAT).text
    table = open_table(text, lambda names: len({*names} & {*SCHEMA}), "\t" if path.suffix.lower() == ".tsv" else ",")
    twice = next((name for name in SCHEMA if table.header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} has {table.header.count(twice)} columns {twice!r}: remove or rename all but one.")
    if "url" not in table.header:
        return pl.DataFrame(schema={name: pl.String for name in table.header if name}), []
    columns: dict[str, list[str | None]] = {name: [] for name in table.header if name in SCHEMA}
    rows = []
    positions = [(table.header.index(name), values) for name, values in columns.items()]
    for line, cells, fault, _ in records(table, Items(table.header.index("url"), is_url)):
        fault = fault or next((reason for cell in cells if (reason := fault_of_text(cell))), None)
        if fault is not None:
            raise UserError(f"{path} row {line}: {fault}.")
        rows.append(line)
        for position, values in positions:
            values.append(cells[position].strip() or None)
    return pl.DataFrame(columns, dict.fromkeys(columns, pl.String)), rows


def _columns(names: list[str]) -> dict[str, pl.Expr]:
    return {name: (pl.col(name) if name in names else pl.lit(None)).cast(kind) for name, kind in SCHEMA.items()}


def _row(path: Path, number: int) -> str:
    return f"{path} {'URL' if path.suffix.lower() == '.txt' else 'row'} {number}"
