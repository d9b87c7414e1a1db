"""`hearonce init` on media that lie in shards or datasets: which reader they need, and what the first of them hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.config.subsets import FOLDER
from pipeline.console.text import counted
from pipeline.media.location import MediaFolder, MediaPlace
from pipeline.media.tar_files import is_shard
from stages.ingest.annotations import Annotations
from stages.ingest.list_media import local_shards
from stages.ingest.readers import huggingface, webdataset

FIRST_SHARDS, FIRST_ROWS = 1, 20
"""That are read for a start; of a dataset rows of each split."""

LOOKS: Mapping[str, Callable[[CorpusPlace, CorpusConfig], Annotations]] = {
    "webdataset": lambda place, config: webdataset.read(place, config, most=FIRST_SHARDS),
    "huggingface": lambda place, config: huggingface.read(place, config, most=FIRST_ROWS),
}
"""What is read for a start, by the reader of the corpus."""


def packed_reader(media: MediaPlace) -> str:
    """The reader that media which are no files of their own need; empty for files."""
    if media.folder is None and media.dataset() is not None:
        return "huggingface"
    if any(not is_shard(file.name) for file in media.files()):
        return ""
    if media.shards():
        return "webdataset"
    return "huggingface" if media.dataset() is not None else ""


def shard_folder(source: str) -> Path | None:
    """The folder of some shards of this machine, if it holds no others; DVC watches a folder better than a list.

    Raises:
        UserError: a shard does not exist.
    """
    named = {one.url.partition("://")[2] for one in local_shards(source)}
    folder = Path(source).parent
    if not folder.is_dir() or MediaFolder(folder).files():
        return None
    there = {str(file.absolute()) for _, file in MediaFolder(folder).shards() if isinstance(file, Path)}
    return folder if there == named else None


def tracks_of(found: Annotations) -> tuple[bool, bool, str]:
    """Whether any medium that has been opened has audio, and video; and why one that cannot be opened cannot."""
    infos = [one.info for one in found.opened.values() if not isinstance(one, str)]
    reason = next((one for one in found.opened.values() if isinstance(one, str)), "")
    return any(one.audio for one in infos), any(one.video for one in infos), reason


def said(reader: str, media: MediaPlace, found: Annotations, n_captions: int) -> str:
    """What the first shards or rows hold, in a sentence."""
    n_media = sum(not isinstance(one, str) for one in found.opened.values())
    holds = f"{counted(n_media, 'medium', 'media')}, {counted(n_captions, 'caption')}"
    if reader == "webdataset":
        return f"{counted(len(media.shards()), 'shard')}; the first has {holds}."
    return f"A Hugging Face dataset; its first rows have {holds}."


def split_subsets(reader: str, found: Annotations) -> dict[str, dict[str, Any]]:
    """A subset of each split of a dataset that has several: what its file says, by the subset's name."""
    if reader != "huggingface":
        return {}
    splits = dict.fromkeys(path.parts[0] for path in found.opened)
    return {name: {"where": f"starts_with(media_id, '{name}/')"} for name in splits if len(splits) > 1}


def subset_path(corpus: str, name: str) -> Path:
    """Where the file of a subset lies."""
    return FOLDER / corpus / f"{name}.yaml"
