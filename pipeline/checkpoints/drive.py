"""Files and folders of Google Drive, through gdown, which passes Drive's confirmation pages and resumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.durable import remove
from cache.errors import writing
from pipeline.checkpoints.catalogue import DRIVE, PlaceError, inside, root
from pipeline.monitor.progress import Meter

TIMEOUT_S = 30.0
RETRIES = 3
SHOWN = 12
"""Files that are named where the one that is wanted is not among them."""
COOKIES = Path("~/.cache/gdown/cookies.txt")
"""gdown's own remedy against Drive's quotas: the cookies of somebody who is logged in; used if the user put them."""


def fetch(file_id: str, scratch: Path, label: str) -> Path:
    """Downloads a file.

    Args:
        file_id: Drive's id.
        scratch: folder of this download alone, kept between runs.
        label: name for the progress bar.

    Returns:
        The complete file in the folder.

    Raises:
        PlaceError: it cannot be had now; what has arrived is kept.
    """
    folder = scratch / file_id  # another id never resumes this one's bytes
    for again in (False, True):
        folder.mkdir(exist_ok=True)
        try:
            with Meter(label) as meter, _sentences(f"{DRIVE}/file/d/{file_id}/view"):
                return _download(file_id, folder, meter)
        except _ChangedError:
            remove(folder)
            if again:
                break
    raise PlaceError(f"{DRIVE}/file/d/{file_id}/view keeps changing")


class _ChangedError(Exception):
    """The file has another length than when its download began."""


def _download(file_id: str, folder: Path, meter: Meter) -> Path:
    """One download, that goes on with what is in the folder if the length is still the same.

    Between runs gdown does not ask whether the file is still the same one; its length is what can be compared.
    """
    import gdown

    target, length = folder / "file", folder / "length"
    expected = length.read_text(encoding="ascii") if length.exists() else None

    def at(done: int, total: int | None) -> None:
        nonlocal expected
        if total is not None and expected is None:
            expected = str(total)
            length.write_text(expected, encoding="ascii")
        if total is not None and expected != str(total):
            raise _ChangedError
        meter.at(done, total)

    with writing(target):
        gdown.download(
            id=file_id,
            output=str(target),
            quiet=True,
            resume=True,
            retries=RETRIES,
            timeout=TIMEOUT_S,
            progress=at,
            use_cookies=COOKIES.expanduser().is_file(),
        )
    return target


def listing(folder_id: str) -> dict[str, str]:
    """Ids of the files of a folder and the folders below it, by path relative to it.

    Raises:
        PlaceError: it cannot be listed now.
    """
    import gdown

    where = f"{DRIVE}/drive/folders/{folder_id}"
    with _sentences(where):
        found = gdown.download_folder(
            id=folder_id,
            quiet=True,
            skip_download=True,
            timeout=TIMEOUT_S,
            use_cookies=COOKIES.expanduser().is_file(),
        )
    try:
        files = {inside(one.path): one.id for one in found if not isinstance(one, str)}
    except ValueError as error:
        raise PlaceError(f"{where} names a file that {error}") from None
    if not files:
        raise PlaceError(f"{where} shows no files")
    return files


def id_of(folder_id: str, name: str) -> str:
    """The id of a folder's file, by its path or its name.

    Raises:
        PlaceError: there is no such file.
    """
    files = listing(folder_id)
    found = [one for path, one in files.items() if path == name or Path(path).name == name]
    if not found:
        there = ", ".join(sorted(files)[:SHOWN]) + (", ..." if len(files) > SHOWN else "")
        raise PlaceError(f"{DRIVE}/drive/folders/{folder_id} has no file {name} (there are {there})", absent=True)
    return found[0]


@contextmanager
def _sentences(where: str) -> Iterator[None]:
    """Turns whatever gdown raises into the reason for which a place failed."""
    from gdown.exceptions import DownloadError, FileURLRetrievalError
    from requests import RequestException

    try:
        yield
    except FileURLRetrievalError as error:
        raise PlaceError(f"{where} does not hand the file out ({error}); often it does a day later") from None
    except (DownloadError, RequestException, KeyError) as error:  # KeyError: an answer without a Content-Type
        raise PlaceError(f"{where}: {root(error)}") from None
