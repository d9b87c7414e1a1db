"""HowTo100M's `caption.pickle` or `caption.json`, larger than memory, as an HDF5 file to read single videos from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from cache.durable import new_file
from cache.errors import UserError
from cache.location import Store
from pipeline.fingerprints import check_unchanged, digest_of
from pipeline.pickles.arrays import PickledArray
from pipeline.pickles.items import PickledItems
from stages.avlnet.caption_json import json_entries
from stages.avlnet.speech_captions import SpeechCaptions

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
        beside = next((one for one in map(path.with_suffix, (".json", *PICKLED)) if one.is_file()), None)
        raise UserError(
            f"{path} is missing: " + (f"name {beside} instead, which is there." if beside else f"{REMEDY}.")
        )
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
            encoded = [json.dumps(list(one.texts)).encode() for _, one in batch]
            lengths = np.array([(len(one), len(text)) for (_, one), text in zip(batch, encoded, strict=True)], np.int64)
            _append(ids, [id for id, _ in batch])
            _append(ends, at + np.cumsum(lengths, axis=0))
            _append(times, np.concatenate([np.stack([one.starts_s, one.stops_s], axis=1) for _, one in batch]))
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
        starts, stops = (np.asarray(one, np.float64).reshape(-1) for one in columns)
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
