"""Lists of clips that are published as subsets: ids line by line, or a CSV file with one caption for each."""

from __future__ import annotations

from pathlib import Path

from cache.errors import UserError
from pipeline.formats.delimited import Items, lines_of, open_table, records
from pipeline.formats.text import escaped, fault_of_caption, read_text

ID, SENTENCE = "video_id", "sentence"


def read_clip_list(path: Path) -> list[tuple[str, str | None]]:
    """The clips of a list, each with its caption where the list has one.

    Args:
        path: a text file with an id in each line, or a CSV file with the column `video_id`, and `sentence` perhaps
            (`MSRVTT_JSFUSION_test.csv`).

    Raises:
        UserError: it is neither, or a row cannot be read: a subset with a row less is another subset.
    """
    text = read_text(path, "list of clips").text
    if path.suffix.lower() != ".csv":
        return [(line.strip(), None) for line in lines_of(text) if line.strip()]
    table = open_table(text, lambda header: len({ID, SENTENCE} & set(header)))
    if ID not in table.header:
        names = ", ".join(map(escaped, table.header[:12])) or "none"
        raise UserError(f"{path} has no column {ID!r} (it has {names}): take the list that was published.")
    column = table.header.index(ID)
    sentence = table.header.index(SENTENCE) if SENTENCE in table.header else None
    found: dict[str, str | None] = {}
    for record in records(table, Items(column, lambda cell: bool(cell) and " " not in cell)):
        fault = record.fault or (f"it has {record.n_fields} fields" if record.n_fields else None)
        clip = record.cells[column].strip() if not fault else ""
        caption = record.cells[sentence].strip() if sentence is not None and not fault else None
        if not fault and clip in found:
            fault = f"{clip!r} stands above already"
        if not fault and caption is not None:
            fault = "its sentence is empty" if not caption else fault_of_caption(caption)
        if fault:
            raise UserError(f"{path} row {record.line}: {fault}; take the list that was published.")
        found[clip] = caption
    return list(found.items())
