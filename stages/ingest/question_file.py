"""EgoMCQ's json files: multiple-choice questions on clips of Ego4D videos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cache.errors import UserError
from pipeline.text.decoding import escaped, fault_of_text, read_text

N_CHOICES = 5
LONGEST_S = 1e6
"""No video lasts eleven days; the pieces of one are counted."""
TYPES = {1: "inter", 2: "intra"}


class Moment(NamedTuple):
    """A clip: a stretch of a video, and the name made of these."""

    video: str
    start_s: float
    stop_s: float
    id: str


@dataclass(frozen=True)
class Entry:
    """A question.

    Attributes:
        key: its number in the file.
        text: of the query.
        choices: the clips to choose from.
        answer: position of the right one.
        type: `inter` or `intra`.
    """

    key: str
    text: str
    choices: tuple[Moment, ...]
    answer: int
    type: str

    def content(self) -> tuple[object, ...]:
        """All but the number, which is another in the files of subsets."""
        return self.text, self.choices, self.answer, self.type


def read_questions(path: Path, origin: str) -> tuple[list[Entry], list[tuple[str, str, str]]]:
    """Reads a question file; tags of verbs and nouns are not looked at.

    Args:
        path: the json file.
        origin: where to get it.

    Returns:
        The questions in the order of their numbers, and (id, path, reason) of those that cannot be used.

    Raises:
        UserError: the file is missing or no question file.
    """
    data = _load(path, origin)
    entries, faults = [], []
    for number in range(len(data)):
        try:
            entries.append(_entry(str(number), data[str(number)]))
        except KeyError as error:
            faults.append((str(number), str(path), f"question {number} has no {error.args[0]!r}"))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            faults.append((str(number), str(path), f"question {number}: {error}"))
    return entries, faults


def read_query_texts(path: Path, origin: str) -> dict[str, str]:
    """The query's text of each question, by its number.

    Raises:
        UserError: the file is missing or no question file.
    """
    try:
        texts = {key: str(item["query"]["clip_text"]) for key, item in _load(path, origin).items()}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} has a question without `query` and `clip_text` ({error}): fetch it again.") from None
    if wrong := next((key for key, text in texts.items() if fault_of_text(text)), None):
        raise UserError(f"{path} question {escaped(wrong)}: {fault_of_text(texts[wrong])}, or fetch the file again.")
    return texts


def _entry(key: str, item: dict[str, Any]) -> Entry:
    choices = tuple(_moment(choice) for choice in item["choices"].values())
    if len(choices) != N_CHOICES:
        raise ValueError(f"{len(choices)} choices, not {N_CHOICES}")
    answer, type_ = int(item["answer"]), int(item["types"])
    if not 0 <= answer < N_CHOICES or type_ not in TYPES:
        raise ValueError(f"answer {answer} or type {type_} is out of range")
    text = str(item["query"]["clip_text"])
    if reason := fault_of_text(text):
        raise ValueError(reason)
    return Entry(key, text, choices, answer, TYPES[type_])


def _moment(choice: dict[str, Any]) -> Moment:
    video, start, stop = (choice[key] for key in ("video_uid", "clip_start", "clip_end"))
    start, stop = max(float(start), 0.0), max(float(stop), 0.0)
    if reason := fault_of_text(str(video)):
        raise ValueError(reason.replace("the text", "a video's name", 1))
    id = f"{video}@{start:.12g}-{stop:.12g}"
    if not start < stop < LONGEST_S:
        raise ValueError(f"the clip {id} does not stop after its start, or lasts too long")
    return Moment(str(video), start, stop, id)


def _load(path: Path, origin: str) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"{path} is missing: get it from {origin}.")
    text = read_text(path, "question file").text
    try:
        data = json.loads(text)
    except RecursionError:
        raise UserError(f"{path} is nested too deeply for questions: fetch it again.") from None
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}): fetch it again.") from None
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path} holds no questions by number: fetch it again.")
    return data
