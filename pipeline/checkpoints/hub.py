"""Files of the Hugging Face hub, from the machine's own hub cache if they are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.checkpoints.catalogue import HUB, PlaceError, root
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
    """Keeps huggingface_hub from telling of every attempt."""
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
