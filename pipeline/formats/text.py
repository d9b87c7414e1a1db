"""Text files that people give, read within bounds and decoded by one rule: Unicode is read, anything else is refused.

No detector of encodings is asked. On 18 short caption files in 11 encodings, charset-normalizer 3.5 gave a wrong text
for 6, cchardet 3.2 for 3 and chardet 7.7 for 1 ("le café fume" became Greek), none of them with a message; a sentence
that says what to do is worth more than a caption that is wrong.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from cache.errors import UserError

LARGEST_MB = "HEARONCE_TEXT_MB"
"""Variable with the size up to which a caption table is read, in MiB."""
DEFAULT_MB = 1024
PER_MEDIUM = 16
"""A text of one medium (subtitles, a text file) may have the size of a table divided by this."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_PACKED = ((b"PK\x03\x04", "a zip archive or an Excel workbook"), (b"\x1f\x8b", "packed by gzip"))
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_MARKS = re.compile(r"(^|[\r\n])\ufeff+")
_NO_TEXT = re.compile(r"[\x01-\x08\x0e-\x1b\x7f]")
_BLOCK = 1 << 20
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Decoded(NamedTuple):
    """The text of a file, without its byte order mark, and in which encoding it was if that is worth a note."""

    text: str
    note: str | None = None


def read_bytes(path: Path, what: str, share: int = 1) -> bytes:
    """Reads a regular file within bounds; never waits for a pipe or a device.

    Args:
        path: the file.
        what: what it is to the user, for messages: `caption file`.
        share: the largest size is `HEARONCE_TEXT_MB` divided by this.

    Raises:
        UserError: it cannot be read, is no regular file, or is too large.
    """
    most = _most_bytes() // share
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise UserError(_no_file(path, what, mode))
            data = bytearray()  # not `read(most + 1)`, which takes as much memory for the smallest file
            while len(data) <= most and (block := file.read(min(most + 1 - len(data), _BLOCK))):
                data += block
    except OSError as error:
        try:
            mode = os.stat(path).st_mode
        except OSError:
            mode = stat.S_IFREG
        if not stat.S_ISREG(mode):
            raise UserError(_no_file(path, what, mode)) from None
        raise UserError(f"The {what} {path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # a NUL in its name
        raise UserError(f"The {what} {str(path)!r} cannot be read: {error}.") from None
    if len(data) > most:
        raise UserError(
            f"The {what} {path} is larger than {most / 2**20:g} MiB, which is no size of a {what}: split it, or set "
            f"{LARGEST_MB} to {share} times the MiB that may be read."
        )
    return bytes(data)


def read_text(path: Path, what: str, share: int = 1) -> Decoded:
    """Reads a text file; see `read_bytes` and `decode`.

    Raises:
        UserError: it cannot be read, or is no text in Unicode.
    """
    return decode(read_bytes(path, what, share), path, what)


def decode(data: bytes, path: Path, what: str) -> Decoded:
    """Decodes UTF-8, UTF-16 and UTF-32: by the byte order mark, or, of ASCII text in UTF-16, by its zero bytes.

    Args:
        data: the bytes of the file.
        path: its name, for messages.
        what: what it is to the user.

    Raises:
        UserError: it is none of these.
    """
    codec, name, marked = "utf-8", "UTF-8", 0
    for mark, found, shown in _BOMS:
        if data.startswith(mark):
            codec, name, marked = found, shown, len(mark)
            break
    else:
        if codec_of_zeros := _utf16_without_mark(data):
            codec, name = codec_of_zeros, "UTF-16"
    try:
        text = data[marked:].decode(codec)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, marked + error.start) + 1
        if kind := next((kind for magic, kind in _PACKED if data.startswith(magic)), None):
            raise UserError(f"The {what} {path} is {kind}, no text: save it as text in UTF-8.") from None
        if name != "UTF-8":
            raise UserError(f"The {what} {path} is damaged {name} (line {line}): save it in UTF-8.") from None
        raise UserError(
            f"The {what} {path} is no UTF-8 (byte 0x{data[marked + error.start]:02X} in line {line}): save it in "
            "UTF-8; if it is in Windows-1252, `iconv -f WINDOWS-1252 -t UTF-8` does that."
        ) from None
    if "\ufeff" in text:  # twice, or where files were joined
        text = _MARKS.sub(r"\1", text)
    if name == "UTF-8":
        return Decoded(text)
    return Decoded(text, f"{path} was read as {name}")


def fault_of_caption(text: str) -> str | None:
    """As `fault_of_text`; a caption may not hold control characters either: ISO-2022 and Cyrillic in UTF-16 do."""
    if not text.isprintable() and (found := _NO_TEXT.search(text)):
        return f"the text holds the control character U+{ord(found[0]):04X}: correct it, or save the file in UTF-8"
    return fault_of_text(text)


def fault_of_text(text: str) -> str | None:
    """Why a text from outside cannot be used: it holds what stands for no character; None if it can."""
    if text.isascii() and text.isprintable():
        return None
    if "\ufffd" in text:
        return "the text holds U+FFFD, which stands for a character that was lost earlier: correct it"
    if "\0" in text:
        return "the text holds a zero byte: correct it"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"the text holds U+{ord(text[error.start]):04X}, half of a character (of an emoji, say): correct it"
    return None


def escaped(text: str) -> str:
    """A text for messages and tables: halves of characters, lost ones, zero bytes and other controls as escapes."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\ufffd", "\\ufffd")
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _most_bytes() -> int:
    value = os.environ.get(LARGEST_MB, "")
    try:
        most = int(float(value) * 2**20) if value else DEFAULT_MB * 2**20
    except (ValueError, OverflowError):
        most = 0
    if most <= 0:
        raise UserError(f"{LARGEST_MB} is {value!r}: set it to a number of MiB.")
    return most


def _no_file(path: Path, what: str, mode: int) -> str:
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
    return f"The {what} {path} is {kind}: give a regular file."


def _utf16_without_mark(data: bytes) -> str | None:
    """The byte order of UTF-16 without a mark, if every other byte of the beginning tells: most are zero there and
    none on the other side."""
    start = data[:4096]
    even, odd = start[::2], start[1::2]
    if len(odd) < 2 or not (even.count(0) or odd.count(0)):
        return None
    if odd.count(0) * 2 >= len(odd) and not even.count(0):
        return "utf-16-le"
    if even.count(0) * 2 >= len(even) and not odd.count(0):
        return "utf-16-be"
    return None
