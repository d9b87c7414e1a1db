r"""Tables of text: commas, semicolons, tabs or pipes between the cells, as spreadsheets and programs write them.

The separator is the one that makes known names of the header; the rows have no say, for captions are full of commas.
A row that has not as many cells as the header is a fault, never cut, joined or filled by guess. Measured on 14 small
tables (14 right here): clevercsv 0.8.5 and csv.Sniffer read 10 right and 4 wrong without a message, pandas' sniffer 7
and 3, csv.reader 5 and 9, polars 3 and 2 (the others they refuse whole); none knows a row that swallows the next.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

SEPARATORS = (",", ";", "\t", "|")
MOST_LINES = 1000
"""A quoted cell may have this many lines."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_INSIDE = re.compile(r'(?:[^"]+|"")*')
_ESCAPE = re.compile(r'\\([\\"])')


class Record(NamedTuple):
    """A row of a table.

    Attributes:
        line: the number of its (first) line.
        cells: as many as the header has; those that are missing at the end are empty. As far as they are known if the
            row has a fault.
        fault: why it cannot be used, else None.
        n_fields: how many cells stand there if they are fewer than in the header, else 0.
    """

    line: int
    cells: list[str]
    fault: str | None = None
    n_fields: int = 0


class Table(NamedTuple):
    """A table that was opened.

    Attributes:
        header: names of the columns as they stand there; empty where a column has none.
        separator: what stands between the cells.
        first: number of the header's line, from 1; 0 if there is none.
        lines: all lines with their ends.
    """

    header: list[str]
    separator: str
    first: int
    lines: list[str]


def lines_of(text: str) -> list[str]:
    """The lines of a text with their ends, which are CR, LF or CR LF."""
    return _LINE.findall(text)


def open_table(text: str, known: Callable[[Sequence[str]], int], prefer: str = ",") -> Table:
    """Finds the header and the separator.

    Comments (`#`) before the header are passed over; a first line `sep=;` is obeyed.

    Args:
        text: the whole table.
        known: how many of some names a table of this kind may have.
        prefer: the separator where several are as good.
    """
    lines = lines_of(text)
    separators = [prefer, *(one for one in SEPARATORS if one != prefer)]
    for number, line in enumerate(lines, 1):
        bare = line.strip("\r\n")
        if declared := _SEP.fullmatch(bare):
            separators = [declared[1]]
            continue
        if not bare.strip():
            continue
        comment = bare.startswith("#")
        readings = [(_header(bare.lstrip("# ") if comment else bare, one), one) for one in separators]
        cells, separator = max(readings, key=lambda reading: (known(reading[0]), len(reading[0])))
        if not comment or known(cells) > 1:
            return Table(cells, separator, number, lines)
    return Table([], prefer, 0, lines)


class Items(NamedTuple):
    """Which rows name an item, by which rows are distinguished from the rest of a row above.

    Attributes:
        column: position of the column with the name.
        is_name: whether a cell can be such a name.
        by_form: whether names can be recognised by their form alone (by an ending), so that what does not look
            like one is none.
    """

    column: int
    is_name: Callable[[str], bool]
    by_form: bool = False

    def named_by(self, cells: Sequence[str]) -> bool:
        """Whether these cells of a row, perhaps not all, name an item."""
        return self.column < len(cells) and self.is_name(cells[self.column].strip())


def records(table: Table, items: Items, comments: list[int] | None = None) -> Iterator[Record]:
    """The rows below the header; empty ones and comments are passed over.

    A line that names no item and has too few cells, or any where names are recognised by their form, may be a part
    of the row above or below, whose cell has a line break and no quotes: both are faults then.

    Args:
        table: from `open_table`.
        items: a line that names one begins a row even where a quote is still open.
        comments: gets the numbers of the lines with `#` that are passed over.
    """
    width, column = len(table.header), items.column
    before: Record | None = None
    torn_by = 0  # line of the piece that may belong to the next row
    for record in _records(table, items, comments if comments is not None else []):
        cells = record.cells
        short = len(cells) < width
        if short:
            record = record._replace(cells=[*cells, *[""] * (width - len(cells))], n_fields=len(cells))
        if torn_by:
            record = record._replace(fault=record.fault or _torn(torn_by))
            torn_by = 0
        empty = len(cells) > column and not cells[column].strip()
        if (short or items.by_form) and not record.fault and not empty and not items.named_by(cells):
            what = f"it has {_fields(cells)}, the header {width}" if short else "it names no file"
            record = record._replace(fault=f"{what}: if it is a part of another row, put that row's cell in quotes")
            if column:
                torn_by = record.line
            elif before is not None and not before.fault:
                before = before._replace(fault=_torn(record.line))
        if before is not None:
            yield before
        before = record
    if before is not None:
        yield before


def _torn(line: int) -> str:
    return f"row {line} names no file and may be a part of this one: if so, put the cell with the line break in quotes"


def sample(table: Table, n_lines: int) -> list[list[str]]:
    """The cells of the first lines below the header, as far as each line tells them: to guess by, not to keep."""
    lines = islice(table.lines, table.first, table.first + n_lines)
    return [[cell.strip(' "') for cell in _lenient(_bare(line), table.separator)] for line in lines]


def _records(table: Table, items: Items, comments: list[int]) -> Iterator[Record]:
    lines, separator, width = table.lines, table.separator, len(table.header)
    empty = separator + " \t"
    position = table.first
    closes: dict[int, int] = {}  # line: the one with an open quote that it may close
    while position < len(lines):
        line, number = _bare(lines[position]), position + 1
        position += 1
        if not line.strip(empty):
            continue
        if _is_comment(line, table, items):
            comments.append(number)
            continue
        if '"' not in line:
            cells = line.split(separator)
            if len(cells) <= width or len(cells := _trimmed(cells, width)) == width:
                yield Record(number, cells)
            else:
                yield Record(number, cells, _too_many(cells, width))
            continue
        if number in closes:
            yield Record(number, line.split(separator)[:width], _two_ways(closes[number], number))
            continue
        readings = _readings(line, separator, width)
        n_lines = 1
        if not readings and (n_lines := _closing(lines, position - 1)) > 1:
            block = lines[position - 1 : position - 1 + n_lines]
            readings = _readings("".join(block).rstrip("\r\n"), separator, width)
            if readings and _has_rows(block[1:], table, items):
                last = position - 1 + n_lines
                closes[last] = number
                yield Record(number, line.split(separator)[:width], _two_ways(number, last))
                continue
        exact = [cells for cells in readings if len(cells) == width] or [one for one in readings if len(one) < width]
        if len(exact) == 1:
            yield Record(number, exact[0])
            position += n_lines - 1
        elif exact:
            fault = "its quotes and back slashes can be read in two ways: write a quote within quotes twice"
            yield Record(number, exact[0], fault)
        elif readings:
            yield Record(number, readings[0], _too_many(readings[0], width))
        else:
            fault = 'a quotation mark is not closed, or text follows one: write the cell as "..." with "" for each "'
            yield Record(number, line.split(separator)[:width], fault)


def _readings(text: str, separator: str, width: int) -> list[list[str]]:
    r"""The ways in which a row with quotes can be read: as it is, else with spaces before the quotes, else with `\"`
    for a quote; only those that are well formed."""
    found: list[list[str]] = []
    spaced = _spaced(separator)
    plain = [text]
    if '\\"' in text:
        plain.append(_ESCAPE.sub(lambda match: '""' if match[1] == '"' else "\\", text))
    for one in plain:
        cells = None
        if spaced.search(one):
            cells = _strict(one, separator, skip_spaces=True)
        cells = cells or _strict(one, separator)
        if cells is not None:
            cells = _trimmed(cells, width)
            if cells not in found:
                found.append(cells)
    return found


@lru_cache
def _spaced(separator: str) -> re.Pattern[str]:
    return re.compile(rf'{re.escape(separator)}[ \t]+"')


def _lenient(line: str, separator: str) -> list[str]:
    """The cells of a line, by the separators alone where its quotes are not well formed."""
    cells = _strict(line, separator, skip_spaces=True) if '"' in line else None
    return cells or line.split(separator)


def _bare(line: str) -> str:
    return line.rstrip("\r\n")


def _strict(text: str, separator: str, skip_spaces: bool = False) -> list[str] | None:
    """The cells of a row; None where a quote is not closed or text follows a closing one."""
    reader = csv.reader([text], delimiter=separator, strict=True, skipinitialspace=skip_spaces)
    if len(text) > csv.field_size_limit():
        csv.field_size_limit(len(text))
    try:
        return next(reader, [])
    except csv.Error:
        return None


def _closing(lines: list[str], begin: int) -> int:
    """How many lines the row that begins with an open quote has, if a later one closes it; else 1."""
    quotes = 0
    for position in range(begin, min(begin + MOST_LINES, len(lines))):
        quotes += lines[position].count('"') - lines[position].count('\\"')
        if quotes % 2 == 0:
            return position - begin + 1
    return 1


def _has_rows(quoted: list[str], table: Table, items: Items) -> bool:
    """Whether some lines, up to a quote in the last, look like rows: they name an item, or have all cells where names
    have no form."""
    for line in quoted:
        cells = _INSIDE.match(line)[0].rstrip("\r\n").split(table.separator)  # type: ignore[index]
        if items.named_by(cells) or (not items.by_form and 1 < len(table.header) <= len(cells)):
            return True
    return False


def _two_ways(opens: int, closes: int) -> str:
    return (
        f"a quotation mark opens in row {opens} and closes in row {closes}, and what stands between looks like rows: "
        f"close it in row {opens}, or write the cell in one line"
    )


def _header(line: str, separator: str) -> list[str]:
    cells = [cell.strip() for cell in _lenient(line, separator)]
    while len(cells) > 1 and not cells[-1]:
        cells.pop()
    return cells


def _is_comment(line: str, table: Table, items: Items) -> bool:
    return line.startswith("#") and not items.named_by(_bare(line).split(table.separator))


def _trimmed(cells: list[str], width: int) -> list[str]:
    """Without the empty cells beyond the header that separators at the end of a line make."""
    while len(cells) > width and not cells[-1].strip():
        cells.pop()
    return cells


def _too_many(cells: list[str], width: int) -> str:
    return f"it has {_fields(cells)}, the header {width}: put a cell with separators in quotes"


def _fields(cells: list[str]) -> str:
    return f"{len(cells)} field{'s' * (len(cells) != 1)}"
