"""Media in Hugging Face datasets: rows whose `Audio` or `Video` column holds the bytes of a file.

The `datasets` library reads the Arrow and Parquet files; it decodes nothing, since every other reader here starts from
the bytes of a file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cache.digests import DIGEST_BYTES
from cache.errors import UserError, writing
from pipeline.media.containers import MediaError
from pipeline.media.members import Packed
from pipeline.remote.address import is_url, shown

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]

SCHEME = "hf"
MEDIA_FEATURES = ("Audio", "Video")
_PATH = re.compile(r"([^/]+)/(\d+)\.([^/]+)/([^/]*)")
_HUB = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?(?:/([^/]+))?/?")


@dataclass(frozen=True)
class Row(Packed):
    """The medium of a row.

    Attributes:
        dataset: the folder, or `hf://datasets/OWNER/NAME@REVISION/CONFIG`.
        split: of the dataset.
        row: number in the split, from 0.
        column: with the bytes.
        name: what the row calls the file.
    """

    dataset: str
    split: str
    row: int
    column: str
    name: str

    def is_missing(self) -> bool:
        """Whether the folder of the dataset is gone."""
        return not is_url(self.dataset) and not os.path.isdir(self.dataset)

    def copy_to(self, target: Path) -> str:
        """Writes the bytes of the row into a file."""
        try:
            value = _column(self.dataset, self.split, self.column)[self.row][self.column]
        except (KeyError, IndexError, ValueError) as error:
            raise MediaError("is not in the dataset any more: run `dvc repro` again") from error
        except UserError as error:
            raise MediaError(str(error).rstrip(".")) from error
        data = bytes_of(value, self.dataset)
        with writing(target):
            target.write_bytes(data)
        return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()

    def __str__(self) -> str:
        return f"{self.dataset}/{row_path(self.split, self.row, self.column, self.name)}"


def row_path(split: str, row: int, column: str, name: str) -> str:
    """The path by which the medium of a row is known: `train/12.audio/dog.wav`."""
    return f"{split}/{row}.{column}/{name}"


def row_at(dataset: str, path: str) -> Row | None:
    """The row of a path that `row_path` has made, None if it is another path."""
    found = _PATH.fullmatch(path)
    return Row(dataset, found[1], int(found[2]), found[3], found[4]) if found else None


def name_of(value: Any, row: int) -> str:
    """What a row calls its file: the last part of its path, or its number."""
    path = value.get("path") if isinstance(value, Mapping) else None
    name = PurePosixPath(path.replace("\\", "/")).name if isinstance(path, str) else ""
    return name if name and name.isprintable() else str(row)


def bytes_of(value: Any, dataset: str) -> bytes:
    """The bytes of a media column, or of the file within the dataset's folder that it names.

    Raises:
        MediaError: there are none.
    """
    if not isinstance(value, Mapping):
        raise MediaError("its row holds nothing in the media column")
    data, path = value.get("bytes"), value.get("path")
    if isinstance(data, bytes):
        if not data:
            raise MediaError("empty file (0 bytes)")
        return data
    if not isinstance(path, str) or not path:
        raise MediaError("its row has neither bytes nor a path")
    folder = None if is_url(dataset) else os.path.realpath(dataset)
    file = os.path.realpath(os.path.join(folder or "/", path))
    if folder is None or not file.startswith(folder + os.sep):
        raise MediaError(
            f"its row has no bytes and names {path}, outside of the dataset: write it with the files in it, as "
            "`save_to_disk` and `to_parquet` of the datasets library do"
        )
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise MediaError(f"its row has no bytes, and {path} cannot be read ({error.strerror})") from error


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return (folder / "dataset_dict.json").is_file() or all(
        (folder / name).is_file() for name in ("state.json", "dataset_info.json")
    )


def is_dataset(folder: Path) -> bool:
    """Whether a folder looks like a dataset: written by `save_to_disk`, or with Parquet files in it or just below."""
    return is_saved(folder) or any(next(folder.glob(pattern), None) for pattern in ("*.parquet", "*/*.parquet"))


@lru_cache(8)
def open_dataset(dataset: str) -> Mapping[str, Dataset]:
    """The splits of a dataset by name; media are not decoded.

    Args:
        dataset: folder, or `hf://datasets/OWNER/NAME@REVISION/CONFIG`.

    Raises:
        UserError: the library is not installed, or it cannot open the dataset.
    """
    library = _library()
    try:
        if is_url(dataset):
            found = _from_hub(library, dataset)
        elif is_saved(Path(dataset)):
            found = library.load_from_disk(dataset)
        else:
            found = library.load_dataset(dataset)
    except UserError:
        raise
    except Exception as error:  # whatever the library raises over files of others
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"The dataset {shown(dataset) if is_url(dataset) else dataset} cannot be opened: {reason}."
        ) from None
    splits = dict(found) if isinstance(found, Mapping) else {str(found.split or "train"): found}
    return {name: _undecoded(split) for name, split in splits.items()}


@lru_cache(32)
def _column(dataset: str, split: str, column: str) -> Dataset:
    """One column alone, so that no other is read."""
    return open_dataset(dataset)[split].select_columns([column])


def media_columns(split: Dataset) -> list[str]:
    """The columns of a split that are `Audio` or `Video`."""
    return [name for name, feature in split.features.items() if type(feature).__name__ in MEDIA_FEATURES]


def _undecoded(split: Dataset) -> Dataset:
    for name in media_columns(split):
        feature = type(split.features[name])
        split = split.cast_column(name, feature(decode=False))
    return split


def _from_hub(library: Any, url: str) -> Any:
    found = _HUB.fullmatch(url)
    if found is None:
        raise UserError(
            f"{url}: a dataset of the hub is hf://datasets/OWNER/NAME, with @REVISION and /CONFIG if need be."
        )
    return library.load_dataset(found[1], found[3], revision=found[2])


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"A Hugging Face dataset needs the package `datasets`: `uv sync --extra hf` ({reason})."
        ) from None
    datasets.disable_progress_bars()
    return datasets
