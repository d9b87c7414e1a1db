"""Captions of HowTo100M (speech and its times) as segments of a video to train AVLnet-Text on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np

from cache.durable import new_file
from cache.errors import UserError
from cache.location import Store
from pipeline.checkpoints.fingerprints import check_unchanged, digest_of
from pipeline.formats.pickled_arrays import PickledArray
from pipeline.formats.pickled_items import PickledItems
from pipeline.formats.word_vectors import words_of

SAMPLE_RATE, HOP, HALF_WINDOW = 16_000, 160, 200


@dataclass(frozen=True)
class SpeechCaptions:
    """The speech of one video, n texts in the order of time.

    Attributes:
        starts_s: in seconds.
        stops_s: in seconds.
        texts: by automatic speech recognition.
    """

    starts_s: Sequence[float]
    stops_s: Sequence[float]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class SpeechSegment:
    """A segment of a video and the words spoken in it.

    Attributes:
        start_s: in seconds.
        stop_s: in seconds.
        words: of the text that was chosen, then of those that were joined to it, in the order in which they were.
    """

    start_s: float
    stop_s: float
    words: tuple[str, ...]

    def spectrogram_range(self, n_frames: int, as_reference: bool = False) -> tuple[int, int]:
        """First frame of the spectrogram, and one past the last.

        Args:
            n_frames: of the whole spectrogram.
            as_reference: a segment that begins within the first 12.5 ms has a negative first frame in the authors'
                code, which numpy counts from the end: such a segment is nearly always empty there. Otherwise it
                begins with the first frame.
        """
        start, stop = map(frame_at, (self.start_s, self.stop_s))
        if as_reference:
            start, stop, _ = slice(start, stop).indices(n_frames)
            return start, max(start, stop)
        return max(0, start), max(0, stop)

    def feature_range(self, rate: float) -> tuple[int, int]:
        """First video feature, and one past the last; `rate` per second."""
        return int(self.start_s * rate), int(self.stop_s * rate) + 1


def frame_at(time_s: float) -> int:
    """The frame of a spectrogram that is centred at or before a time; negative before the first."""
    return (int(time_s * SAMPLE_RATE) - HALF_WINDOW) // HOP


def speech_segment(captions: SpeechCaptions, chosen: int, least_s: float) -> SpeechSegment:
    """A text, joined to its neighbours until the segment is long enough or the video ends.

    Of the neighbours before and after, the one is taken that makes the shorter segment; the one before if both do.

    Args:
        captions: of the video.
        chosen: number of the text.
        least_s: seconds wanted.
    """
    first = last = chosen
    starts, stops = captions.starts_s, captions.stops_s
    order = [chosen]
    while stops[last] - starts[first] < least_s and (first > 0 or last < len(captions) - 1):
        backwards = first > 0
        if backwards and last < len(captions) - 1:
            backwards = stops[last] - starts[first - 1] <= stops[last + 1] - starts[first]
        if backwards:
            first -= 1
        else:
            last += 1
        order.append(first if backwards else last)
    words = [word for position in order for word in words_of(captions.texts[position])]
    return SpeechSegment(float(starts[first]), float(stops[last]), tuple(words))


VIDEOS_AT_ONCE = 1000
PICKLED = (".pickle", ".pkl")
REMEDY = "take HowTo100M's caption.pickle or caption.json (`hearonce checkpoints fetch HowTo100M --unpack`)"
_VERSION = 1


def open_captions(path: Path) -> CaptionFile:
    """The captions of `caption.pickle` or `caption.json`, which is imported into the store at its first use.

    Args:
        path: the pickle, the JSON file, or a file that `import_captions` has made.

    Raises:
        UserError: it is missing, damaged or something else.
    """
    if path.suffix not in (*PICKLED, ".json"):
        return CaptionFile(path)
    if not path.is_file():
        other = next((path for path in map(path.with_suffix, (".json", *PICKLED)) if path.is_file()), None)
        raise UserError(f"{path} is missing: " + (f"name {other} instead, which is there." if other else f"{REMEDY}."))
    digest = digest_of(path)
    imported = Store.default().captions / f"{digest}.h5"
    if not imported.exists():
        with new_file(imported) as temporary:
            import_captions(path, temporary)
            check_unchanged(path, digest)
    return CaptionFile(imported)


def import_captions(source: Path, path: Path) -> int:
    """Writes the captions of all videos, whole or not at all, without running what a pickle names.

    Args:
        source: pickle or JSON, a dict of video id -> {start, end, text}, each a list or array of the captions of the
            video.
        path: HDF5 file to make.

    Returns:
        Number of videos.

    Raises:
        UserError: the source is missing, damaged or of another form.
    """
    n = 0
    with new_file(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["hearonce_captions"] = _VERSION
        times = file.create_dataset("times", (0, 2), "f8", maxshape=(None, 2), chunks=(8192, 2))
        texts = file.create_dataset("texts", (0,), "u1", maxshape=(None,), chunks=(1 << 18,))
        ids = file.create_dataset("ids", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(8192,))
        ends = file.create_dataset("ends", (0, 2), "i8", maxshape=(None, 2), chunks=(8192, 2))
        at = np.zeros(2, np.int64)
        for batch in _batches(source):
            encoded = [json.dumps(list(captions.texts)).encode() for _, captions in batch]
            lengths = np.array([(len(batch[i][1]), len(text)) for i, text in enumerate(encoded)], np.int64)
            _append(ids, [id for id, _ in batch])
            _append(ends, at + np.cumsum(lengths, axis=0))
            _append(times, np.concatenate([np.stack([texts.starts_s, texts.stops_s], axis=1) for _, texts in batch]))
            _append(texts, np.frombuffer(b"".join(encoded), np.uint8))
            at += lengths.sum(axis=0)
            n += len(batch)
    return n


def _batches(source: Path) -> Iterator[list[tuple[str, SpeechCaptions]]]:
    batch: list[tuple[str, SpeechCaptions]] = []
    for entry in json_entries(source, REMEDY) if source.suffix == ".json" else PickledItems(source, REMEDY):
        if not isinstance(entry, tuple):
            raise UserError(f"{source} is a list, expected a dict of videos: {REMEDY}.")
        batch.append((str(entry[0]), _captions(entry, source)))
        if len(batch) == VIDEOS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _captions(entry: tuple[Any, Any], source: Path) -> SpeechCaptions:
    id, found = entry
    try:
        columns = [
            found[key].array() if isinstance(found[key], PickledArray) else found[key] for key in ("start", "end")
        ]
        starts, stops = (np.asarray(column, np.float64).reshape(-1) for column in columns)
        texts = [str(text) for text in found["text"]]
        if not len(starts) == len(stops) == len(texts):
            raise ValueError(f"{len(starts)} starts, {len(stops)} ends and {len(texts)} texts")
    except Exception as error:  # whatever the file holds instead
        raise UserError(f"{source}: video {id} has no captions with start, end and text ({error}).") from None
    return SpeechCaptions(starts.tolist(), stops.tolist(), texts)


def _append(dataset: h5py.Dataset, values: Any) -> None:
    n = len(dataset)
    dataset.resize(n + len(values), axis=0)
    dataset[n:] = values


class CaptionFile(Mapping[str, SpeechCaptions]):
    """Captions by video id, read when they are asked for; the ids and where each begins are in memory.

    Args:
        path: made by `import_captions`.

    Raises:
        UserError: it is missing or something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = h5py.File(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error}): import caption.pickle again.") from None
        if self._file.attrs.get("hearonce_captions") != _VERSION:
            raise UserError(f"{path} holds no captions of hearonce: import caption.pickle again.")
        self._ends = np.concatenate([np.zeros((1, 2), np.int64), self._file["ends"][:]])
        self._rows = {id: row for row, id in enumerate(self._file["ids"].asstr()[:])}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def count(self, video: str) -> int:
        """How many captions a video has, without reading them; 0 of one that is not in the file."""
        row = self._rows.get(video)
        return 0 if row is None else int(self._ends[row + 1, 0] - self._ends[row, 0])

    def __getitem__(self, video: str) -> SpeechCaptions:
        row = self._rows[video]
        (first, begin), (last, end) = self._ends[row], self._ends[row + 1]
        times = self._file["times"][first:last]
        return SpeechCaptions(
            times[:, 0].tolist(), times[:, 1].tolist(), json.loads(self._file["texts"][begin:end].tobytes())
        )


CHUNK = 1 << 20
LARGEST_VALUE = 1 << 27
"""Characters that one entry may take; the captions of a video take some hundred thousand at most."""

_DECODER = json.JSONDecoder()
_WHITE = " \t\r\n"


def json_entries(path: Path, remedy: str, chunk: int = CHUNK) -> Iterator[tuple[str, Any]]:
    """Yields (key, value) of the object that a file holds, in its order.

    Args:
        path: UTF-8.
        remedy: what to do about a file that cannot be read.
        chunk: characters read at a time.

    Raises:
        UserError: the file is missing, cut short, no JSON, or holds something else than an object.
    """
    try:
        with path.open(encoding="utf-8") as file:
            yield from _entries(_Text(file, chunk))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {remedy}.") from None
    except ValueError as error:  # UnicodeDecodeError, too
        raise UserError(f"{path} cannot be read ({error}): {remedy}.") from None


def _entries(text: _Text) -> Iterator[tuple[str, Any]]:
    text.expect("{")
    if text.next() == "}":
        text.expect("}")
    else:
        while True:
            if text.next() != '"':
                raise ValueError(f"found {text.next()!r} where a key should be")
            key = text.value()
            text.expect(":")
            if text.next() not in "{[":  # a number might go on in the next chunk
                raise ValueError(f"{key!r} holds no captions")
            yield key, text.value()
            if text.expect(",", "}") == "}":
                break
    if rest := text.next():
        raise ValueError(f"found {rest!r} behind the end")


class _Text:
    """The text of a file from a place on, as much of it in memory as the value there takes."""

    def __init__(self, file: TextIO, chunk: int) -> None:
        self._file, self._chunk = file, chunk
        self._text, self._at = "", 0

    def next(self) -> str:
        """The next character that is no white space, which stays; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _WHITE:
                    return self._text[self._at]
                self._at += 1
            if not self._more(self._chunk):
                return ""

    def expect(self, *wanted: str) -> str:
        """Takes one of these characters."""
        found = self.next()
        if found not in wanted or not found:
            raise ValueError(f"found {found!r} where {' or '.join(wanted)} should be" if found else "it is cut short")
        self._at += 1
        return found

    def value(self) -> Any:
        """Takes a string, object or array; reads on, twice as much each time, until it is complete."""
        while True:
            try:
                found, self._at = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                length = len(self._text) - self._at
                if length > LARGEST_VALUE:
                    raise ValueError(f"no JSON: {error.msg}") from None
                if not self._more(max(self._chunk, length)):
                    raise ValueError(f"it is cut short, or no JSON: {error.msg}") from None
            else:
                return found

    def _more(self, length: int) -> bool:
        read = self._file.read(length)
        self._text, self._at = self._text[self._at :] + read, 0
        return bool(read)
