"""Where the media of a new corpus lie, and which tracks they have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cache.digests import DigestMemory
from cache.errors import UserError
from cache.location import Store
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import DEFAULT, Limits
from pipeline.media.location import MediaPlace
from pipeline.media.media_list import SUFFIXES, write_media_list
from pipeline.media.probe import probe
from pipeline.monitor.problems import problem_of
from pipeline.remote.address import is_url, location
from stages.ingest import listing
from stages.ingest.list_media import files_of
from stages.ingest.media_files import MediaOpener

N_PROBED, N_FETCHED = 20, 4
"""Media that are looked into: in a folder, and if they have to be fetched."""


def name_of(source: str) -> str:
    """What a corpus of these media may be called."""
    return Path(location(source)).name if is_url(source) else _stem(Path(source))


def _stem(path: Path) -> str:
    return path.stem if path.is_file() else path.resolve().name


@contextmanager
def starting_place(source: str, captions: Path | None, new_list: Path) -> Iterator[tuple[Path, Path | None]]:
    """Yields what `media:` is to name, and the caption file if one is known.

    A folder and a media list are named themselves; for a URL, or captions that name URLs, a list is made, which is
    removed again if the block fails.

    Args:
        source: a folder, URL or file.
        captions: the caption file that was given.
        new_list: where a list is written if one has to be made.

    Raises:
        UserError: there are no media.
    """
    path = Path(source)
    if not is_url(source):
        if path.is_dir():
            yield path, captions
            return
        if not path.is_file():
            raise UserError(f"The folder {source} does not exist.")
        if not listing.is_listing(path):
            if path.suffix.lower() not in SUFFIXES:
                raise UserError(f"{path} is no folder, media list or caption file ({', '.join(SUFFIXES)}).")
            yield path, captions
            return
        if not listing.urls_in(path):
            raise UserError(f"{path} names no URL: give the folder in which its media lie, and --captions {path}.")
        captions = captions or path
    files, _ = files_of(source)
    write_media_list(new_list, files)
    try:
        yield new_list, captions
    except BaseException:
        new_list.unlink()
        raise


def tracks(media: MediaPlace, files: Sequence[Path], limits: Limits = DEFAULT) -> tuple[bool, bool, str]:
    """Whether any of the first few media has audio, and video; and why the last one that fails cannot be opened."""
    store, audio, video, reason = Store.default(), False, False, ""
    memory = DigestMemory(store.digests)  # what is fetched now is known when the corpus is ingested
    opener = MediaOpener(media, memory, AudioStore(store, AudioSettings()), frozenset(), limits)
    for file in files[: N_PROBED if media.folder else N_FETCHED]:
        try:
            source = media.source(file.as_posix())
            info = probe(source, limits) if isinstance(source, Path) else opener.open(file).info
        except Exception as error:
            reason = problem_of(error)
            continue
        audio, video = audio or info.audio is not None, video or info.video is not None
        if audio and video:
            break
    memory.close()
    return audio, video, reason
