"""Kept answers of language models: paid for once, durable as they arrive, shared by corpora, processes and machines.

Each writing process appends to a file of its own, as the row store's writers do, so there is nothing to lock, on a
network disk neither. A line is a CRC-32C and a JSON record, synced before the next one is asked for. What a killed
writer has left at the end of its file is no whole line, and dropped; any other line that does not fit its checksum is
damage, which is reported and costs that answer alone. SQLite would need one writer at a time, and its write-ahead log
does not work across machines.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from google_crc32c import value as crc32c

from cache.durable import FORGOTTEN_SECONDS, is_alive, make_folder, new_file, share, sync
from cache.errors import Damage, UserError, writing
from cache.keys import content_hash

SUFFIX = ".jsonl"
DESCRIPTION = "about.json"


@dataclass(frozen=True)
class Answer:
    """The answer of a model to one text.

    Attributes:
        key: of the text under this prompt, model and decoding (32 hex digits), see `AnswerStore.key`.
        text: what was asked about.
        reply: the model's words, letter for letter.
        finish: why it ended: `stop`, `length`, `refusal`, `content_filter`, ...
        model: what the endpoint calls the model.
        input_tokens, output_tokens: as counted by the engine, or estimated where it does not count.
        at_ns: when it arrived (ns since 1970); of several answers under one key the last counts.
    """

    key: str
    text: str
    reply: str
    finish: str
    model: str
    input_tokens: int
    output_tokens: int
    at_ns: int = 0


class AnswerStore:
    """Answers under one prompt, model and decoding.

    Args:
        root: folder of all answers, `Store.answers`.
        identity: all that decides an answer but the text asked about: prompt, model, decoding parameters.

    Attributes:
        identity: the same.
        fingerprint: hash of the identity (32 hex digits).
        path: the folder, named by the fingerprint.
        damages: what `read` could not trust; lines are counted from 1.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any]) -> None:
        self.fingerprint = content_hash("answers", identity).hex()
        self.path = root / self.fingerprint
        self.damages: list[Damage] = []
        self.identity = dict(identity)
        self._file: BinaryIO | None = None

    @classmethod
    def at(cls, path: Path) -> AnswerStore:
        """The answers in a folder, whatever they are about; the identity is empty where the folder has none."""
        try:
            store = cls(path.parent, json.loads((path / DESCRIPTION).read_text(encoding="utf-8")))
            if store.fingerprint == path.name:
                return store
        except (OSError, ValueError, TypeError):
            pass
        store = cls(path.parent, {})
        store.path, store.fingerprint = path, path.name
        return store

    def key(self, text: str) -> str:
        """Names the answer to a text."""
        return content_hash("answer", [self.fingerprint, text]).hex()

    def read(self) -> dict[str, Answer]:
        """All answers by key, those of other processes included.

        Raises:
            UserError: a file cannot be read; what lies in it would be paid for again.
        """
        self.damages = []
        found: dict[str, Answer] = {}
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            for number, line in enumerate(_lines(path), 1):
                answer = self._answer(line)
                if answer is None:
                    if _is_unfinished(line):
                        continue
                    reason = "does not match its checksum: that answer is lost"
                    self.damages.append(Damage(f"{path.name}, line {number},", None, reason))
                elif answer.key not in found or found[answer.key].at_ns <= answer.at_ns:
                    found[answer.key] = answer
        return found

    def _answer(self, line: bytes) -> Answer | None:
        """The answer in a line with its end, None if it is not what was written."""
        answer = _opened(line[:-1]) if line.endswith(b"\n") else None
        return answer if answer is not None and answer.key == self.key(answer.text) else None

    def drop_damaged(self) -> None:
        """Rewrites the files that have damaged lines, without those, unless another process may still append to one.

        Raises:
            UserError: a file cannot be read or written.
        """
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            lines = list(_lines(path))
            kept = [line for line in lines if self._answer(line) is not None]
            whole = all(self._answer(line) is not None or _is_unfinished(line) for line in lines)
            if not whole and not _may_be_written(path):
                with new_file(path) as temporary:
                    temporary.write_bytes(b"".join(kept))

    def add(self, answers: Iterable[Answer]) -> None:
        """Keeps answers: when this returns they are on the disk.

        Raises:
            WriteError: the disk is full or read-only.
        """
        now = time.time_ns()
        stamped = [answer if answer.at_ns else replace(answer, at_ns=now) for answer in answers]
        self._append(stamped)

    def warm(self, answers: Sequence[Answer]) -> None:
        """Keeps answers that another machine has received, beneath those received here."""
        self._append([replace(answer, at_ns=0) for answer in answers])

    def _append(self, answers: Sequence[Answer]) -> None:
        if not answers:
            return
        with writing(self.path):
            file = self._file or self._begin()
            try:
                file.write(b"".join(_sealed(answer) for answer in answers))
                file.flush()
                os.fsync(file.fileno())
                replaced = os.fstat(file.fileno()).st_nlink == 0
            except OSError:
                self.close()  # perhaps in the middle of a line: nothing may follow it there
                raise
        if replaced:  # by a repair, which may not have read these answers
            self.close()
            self._append(answers)

    def _begin(self) -> BinaryIO:
        new = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        make_folder(self.path)
        for folder in new:
            sync(folder.parent)  # a name that is lost in a power cut takes all that is below with it
        if not (self.path / DESCRIPTION).is_file():
            with new_file(self.path / DESCRIPTION) as temporary:
                temporary.write_text(json.dumps(self.identity, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}{SUFFIX}"
        self._file = (self.path / name).open("xb")
        share(self.path / name)
        sync(self.path)
        return self._file

    def close(self) -> None:
        """Lets go of the file; the next answer begins another."""
        if self._file is not None:
            try:
                self._file.close()
            finally:
                self._file = None


def verify(path: Path) -> list[Damage]:
    """Reads all answers in a folder and lists what is damaged.

    Raises:
        UserError: a file cannot be read.
    """
    store = AnswerStore.at(path)
    store.read()
    if store.identity or not (path / DESCRIPTION).exists():  # the next run that asks writes a missing one anew
        return store.damages
    reason = "does not name the prompt and model that the folder is named after: the next run that asks writes it anew"
    return [*store.damages, Damage(DESCRIPTION, None, f"{reason} once it is deleted")]


def repair(path: Path, *, dry_run: bool = False) -> list[Damage]:
    """Drops the damaged lines of a folder, and a damaged description; the next run asks again for what was lost.

    A file that a living process may still append to keeps its damaged lines, which no reader believes.

    Returns:
        What was found, as `verify` has it.

    Raises:
        UserError: a file cannot be read or written.
    """
    found = verify(path)
    if found and not dry_run:
        store = AnswerStore.at(path)
        store.drop_damaged()
        if not store.identity:
            (path / DESCRIPTION).unlink(missing_ok=True)
    return found


def _may_be_written(path: Path) -> bool:
    """Whether the process that began a file may still live: here by its number, elsewhere by the file's age."""
    host, _, rest = path.name.removesuffix(SUFFIX).rpartition("-")[0].rpartition("-")
    if host == socket.gethostname() and rest.isdigit():
        return int(rest) != os.getpid() and is_alive(int(rest))
    return time.time() - path.stat().st_mtime < FORGOTTEN_SECONDS


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file with their ends; none if it is gone."""
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return  # somebody has removed it
    except OSError as error:
        raise UserError(
            f"{path} holds answers that cannot be read ({error.strerror}): make it readable, or move it away to pay "
            "for them again."
        ) from None


def _is_unfinished(line: bytes) -> bool:
    """Whether a last line is what a killed writer has left, and not a whole one whose end is damaged."""
    return not line.endswith(b"\n") and _opened(line[:-1]) is None


def _sealed(answer: Answer) -> bytes:
    data = json.dumps(asdict(answer), separators=(",", ":"), ensure_ascii=True).encode()
    return b"%08x %b\n" % (crc32c(data), data)


def _opened(line: bytes) -> Answer | None:
    checksum, _, data = line.partition(b" ")
    try:
        if checksum == b"%08x" % crc32c(data):
            return Answer(**json.loads(data))
    except (ValueError, TypeError):
        pass
    return None
