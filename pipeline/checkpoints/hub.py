"""Model files by a local folder or a Hugging Face hub id, found without importing torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cache.errors import UserError
from pipeline.checkpoints.catalogue import HUB, PlaceError, root
from pipeline.checkpoints.official import catalogued, fetched_folder
from pipeline.monitor.progress import Meter


def fetch(repository: str, name: str, revision: str, scratch: Path, label: str) -> Path:
    """Gets a file of a hub repository.

    `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` have the meaning that huggingface_hub gives them. A file
    in the hub cache is used without asking anyone.

    Args:
        repository: id such as `FacebookAI/roberta-base`.
        name: of the file in the repository.
        revision: branch, tag or commit.
        scratch: folder of this download alone, kept between runs.
        label: name for the progress bar.

    Returns:
        The file in the cache or in the folder.

    Raises:
        PlaceError: it cannot be had now.
    """
    from httpx import HTTPError
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError
    from huggingface_hub.errors import LocalEntryNotFoundError as NotReached

    where = f"{repository} at {HUB}"
    cached = try_to_load_from_cache(repository, name, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if constants.HF_HUB_OFFLINE:
        raise PlaceError(f"{where} is not asked because HF_HUB_OFFLINE is set")
    with Meter(label) as meter, _quiet():
        try:
            found = hf_hub_download(
                repository,
                name,
                revision=revision,
                local_dir=scratch,
                endpoint=os.environ.get("HF_ENDPOINT"),
                tqdm_class=_feeding(meter),
            )
        except RepositoryNotFoundError:
            raise PlaceError(f"{where} is not there, or not for you (set HF_TOKEN)") from None
        except NotReached as error:  # is an EntryNotFoundError, and means that nobody answered
            raise PlaceError(f"{where} cannot be reached ({root(error)})") from None
        except EntryNotFoundError:
            raise PlaceError(f"{where} has no file {name}", absent=True) from None
        except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
            raise PlaceError(f"{where}: {root(error)}") from None
    return Path(found)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps huggingface_hub from logging every attempt: one sentence of ours instead."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _feeding(meter: Meter) -> Any:
    """A progress bar class that shows nothing of its own."""
    from huggingface_hub.utils import tqdm

    class Feeding(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._done, self._whole = options.get("initial") or 0, options.get("total")
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self._done += int(n or 0)
            meter.at(self._done, self._whole)

    return Feeding


TRANSFORMERS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
)
"""Names of weights, those that are preferred first: whole, index of shards, shards."""

OPEN_CLIP = (("open_clip_model.safetensors",), ("open_clip_pytorch_model.bin",))


def local_folder(name: str, files: Sequence[str], remedy: str, weights: Sequence[Sequence[str]] = ((),)) -> Path:
    """The folder that holds a model's files.

    That is a local one, what `hearonce checkpoints fetch` got of a hub id, or the hub's snapshot in the Hugging Face
    cache. The first two, and the cache when there is no network, may lack some of the files.

    Args:
        name: path of a folder, or a hub id such as `openai/clip-vit-base-patch32`.
        files: names or patterns of the files that are wanted of the hub.
        remedy: what to put where, for the error.
        weights: `TRANSFORMERS` or `OPEN_CLIP`, if weights are wanted as well; as safetensors if the hub has them.

    Raises:
        UserError: there is no such folder, and neither cache nor hub has the model.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if fetched := fetched_folder(name):
        return fetched
    if catalogued(folder) is not None:  # a path in this project, not a hub id that looks like it
        raise UserError(f"There is no folder {folder}: {remedy}.")
    from httpx import HTTPError
    from huggingface_hub import snapshot_download

    try:
        with _quiet():
            for names in weights:
                folder = Path(snapshot_download(name, allow_patterns=[*files, *names]))
                if any(next(folder.glob(pattern), None) for pattern in names):
                    break
    except (OSError, ValueError, HTTPError) as error:
        raise UserError(
            f"{name!r} is neither a local folder, nor in the Hugging Face cache, nor to be had from the hub now "
            f"({root(error).rstrip('. ')}): {remedy}."
        ) from error
    return folder


def weight_files(folder: Path, weights: Sequence[Sequence[str]], remedy: str) -> list[Path]:
    """The files of a folder that together hold the weights: safetensors if there are any, whole or in shards.

    Raises:
        UserError: there are none, or a shard is missing.
    """
    for whole, *indices in weights:
        if (folder / whole).is_file():
            return [folder / whole]
        index = folder / indices[0] if indices else None
        if index and index.is_file():
            shards = sorted(set(read_json(index).get("weight_map", {}).values()))
            missing = [name for name in shards if not (folder / name).is_file()]
            if missing or not shards:
                raise UserError(f"{index} names weights that are not there: {', '.join(missing)}: {remedy}.")
            return [folder / name for name in shards]
    raise UserError(f"{folder} has neither {' nor '.join(names[0] for names in weights)}: {remedy}.")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: the file is missing, damaged, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): fetch it again.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: fetch it again.")
    return content
