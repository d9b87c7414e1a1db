"""`hearonce init FOLDER`: a corpus from the media of a folder or an address, and from captions if there are some."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from cache.digests import DigestMemory
from cache.durable import new_file
from cache.errors import UserError
from cache.location import Store
from pipeline.config.classes import LABELS, source_of
from pipeline.config.corpus import AudioSettings, ClipsFrom, CorpusConfig
from pipeline.config.experiments import ALL
from pipeline.config.params import (
    CorpusPlace,
    embedding_entry,
    embedding_key,
    extend_params,
    load_params,
    subset_entries,
)
from pipeline.config.records import CONFIGS, validate
from pipeline.config.subsets import write_all_subset
from pipeline.console.text import counted, visible
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import DEFAULT, Limits
from pipeline.media.dataset_rows import SCHEME
from pipeline.media.location import MediaFolder, MediaPlace, open_place
from pipeline.media.media_list import SUFFIXES, write_media_list
from pipeline.media.probe import probe
from pipeline.media.tar_files import is_shard
from pipeline.monitor.problems import problem_of, written_out
from pipeline.remote.address import RemoteFile, is_url, location, scheme
from stages.ingest import listing, subtitles
from stages.ingest.list_media import files_of
from stages.ingest.media_files import MediaOpener
from stages.ingest.packed import LOOKS, packed_reader, said, shard_folder, split_subsets, subset_path, tracks_of
from stages.ingest.readers.folder import Beside, read
from stages.ingest.shots import check_installed

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
        if is_shard(path.name) and (folder := shard_folder(str(source))) is not None:
            yield folder, captions
            return
        if not path.is_file() and not is_shard(path.name):
            raise UserError(f"The folder {source} does not exist.")
        if not is_shard(path.name) and not listing.is_listing(path):
            if path.suffix.lower() not in SUFFIXES:
                raise UserError(f"{path} is no folder, media list or caption file ({', '.join(SUFFIXES)}).")
            yield path, captions
            return
        if not is_shard(path.name) and not listing.urls_in(path):
            raise UserError(f"{path} names no URL: give the folder in which its media lie, and --captions {path}.")
        captions = captions or (None if is_shard(path.name) else path)
    files = [RemoteFile(source, Path(source).name)] if scheme(source) == SCHEME else files_of(source)[0]
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


NOT_A_LETTER = "[!\x01-\ud7ff\ue000-\U0010ffff]"
"""In a pattern of .dvcignore: a byte of a name that is not UTF-8."""

AUDIO_ENCODER, VISUAL_ENCODER = "yamnet-minilm", "efficientnet-minilm"
PROMPTS = "ensemble"
"""Of `configs/class-prompts/`, for media with classes."""


def init(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of videos and audio files, of WebDataset shards or of a Hugging Face dataset, a URL of one "
            "(s3://bucket/prefix, hf://datasets/OWNER/NAME), shards ({00000..00012}.tar), or a file with URLs: a media "
            "list, plain text, or captions.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the corpus; the folder's by default.")] = None,
    captions: Annotated[
        Path | None,
        typer.Option(help="CSV, TSV or JSONL with columns file, caption (or label) and optionally start, stop."),
    ] = None,
    window: Annotated[float, typer.Option(help="Cut media without times into windows of this many seconds.")] = 10.0,
    hop: Annotated[
        float | None,
        typer.Option(
            help="Begin a window every so many seconds, so that windows overlap; captions with times belong to the "
            "windows that they overlap, instead of being clips of their own."
        ),
    ] = None,
    shots: Annotated[
        bool, typer.Option("--shots", help="Cut videos into shots, and shots longer than a window into windows.")
    ] = False,
) -> None:
    """Write starter configs for your own media and add them to params.yaml."""
    if written_out(source) != str(source):
        raise UserError(f"The name {written_out(source)} is not UTF-8: rename it.")
    params = load_params()
    corpus = name or re.sub(r"[^a-z0-9]+", "-", name_of(source).lower()).strip("-") or "mine"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", corpus):
        raise UserError(f"{corpus!r} is no name for a corpus: use small letters, digits and dashes.")
    config_path = CONFIGS / "corpora" / f"{corpus}.yaml"
    if corpus in params.corpora or config_path.exists():
        raise UserError(f"There is a corpus {corpus!r} already: choose another with --name, or edit {config_path}.")
    if shots:
        check_installed()
    windows = {"window_s": window, "min_window_s": min(1.0, window / 10)}
    if hop is not None:
        windows["hop_s"] = hop
    clips: ClipsFrom = "shots" if shots else "captions" if hop is None else "windows"
    with starting_place(source, captions, config_path.with_suffix(".media.csv")) as (media_path, captions):
        _set_up(corpus, config_path, media_path, captions, windows, clips)


def _set_up(
    corpus: str,
    config_path: Path,
    media_path: Path,
    captions: Path | None,
    windows: dict[str, float],
    clips: ClipsFrom,
) -> None:
    media = open_place(media_path)
    files, packed = media.files(), packed_reader(media)
    if not files and not packed:
        why = "; ".join([f"{written_out(path)}: {reason}" for path, reason in media.faults()[:3]] + media.notes())
        what = "no media file and no shard (by suffix)"
        raise UserError(f"{media} holds {what}: nothing to set up.{f' {why}.' if why else ''}")

    if packed:
        if captions is not None:
            raise UserError(f"{media} has its captions beside the media in its shards or rows: leave out --captions.")
        origin, annotations = "", None
        settings: dict[str, Any] = {"reader": packed, **windows}
    else:
        origin, annotations = _find_captions(media, files, captions)
        settings = {"reader": "folder", "captions_from": origin, **windows}
    if clips != "captions":
        settings["clips_from"] = clips
    classified = origin == "listing" and annotations is not None and listing.is_classified(annotations)
    if classified:
        settings["classes"] = {"prompts": [PROMPTS]}
    config = validate(settings, CorpusConfig, config_path)
    place = CorpusPlace(media=media_path, annotations=annotations or config_path)
    found = LOOKS[packed](place, config) if packed else read(place, config)
    n_captions = sum(len(segment.captions) for segment in found.segments)
    n_classes = len({name for segment in found.segments for name in segment.classes})
    if not found.segments:
        reasons = "; ".join(reason for _, _, reason in found.faults[:3])
        named = f"{media if packed else place.annotations} names no usable clip"
        raise UserError(f"{named} ({reasons or 'it is empty'}): nothing to set up.")
    if packed:
        audio, video, reason = tracks_of(found)
    else:
        audio, video, reason = tracks(media, list(dict.fromkeys(segment.media for segment in found.segments)))
    encoders = [AUDIO_ENCODER] * audio + [VISUAL_ENCODER] * video
    if not encoders:
        raise UserError(f"None of the first media files of {media} can be opened ({reason}): nothing to set up.")
    used = {"audio": AUDIO_ENCODER, "visual": VISUAL_ENCODER, "both": [AUDIO_ENCODER, VISUAL_ENCODER]}
    rows = {label: one for label, one in used.items() if label == "both" or one in encoders}
    if len(encoders) < 2:
        del rows["both"]

    _dump(
        {**settings, "audio": {"channels": "keep", "bits": 16}},
        config_path,
        f"Media and captions of {media_path.name}.",
    )
    task = {"protocol": "paired-retrieval", "rows": [{"encoders": rows, "captions": "given"}]}
    if classified:
        texts = {"names": LABELS, PROMPTS: source_of(PROMPTS)}
        task = {"protocol": "zero-shot-classification", "rows": [{"encoders": rows, "captions": texts}]}
    _dump(
        task,
        CONFIGS / "experiments" / corpus / "first.yaml",
        "Experiments as the rows of a table; all options: pipeline/config/experiments.py.",
    )
    write_all_subset(corpus)
    subsets = split_subsets(packed, found)
    for one, settings in subsets.items():
        _dump(settings, subset_path(corpus, one), f"The split {one}.")
    reads = {AUDIO_ENCODER: "audio", VISUAL_ENCODER: "frames"}
    extend_params(
        {
            "corpora": {corpus: {"media": place.media.as_posix(), "annotations": place.annotations.as_posix()}},
            "embeddings": {embedding_key(corpus, one): embedding_entry(corpus, one, reads[one]) for one in encoders},
            "subsets": subset_entries(corpus, [ALL, *subsets]),
        }
    )
    if isinstance(media, MediaFolder) and not packed:
        _keep_dvc_from_unreadable(media.folder, files, media.unfit())

    where = annotations or {"subtitles": "subtitles beside the media", "text": "text files beside the media"}.get(
        origin, "the file names"
    )
    texts_found = counted(n_classes, "class", "classes") if classified else counted(n_captions, "caption")
    if packed:
        print(said(packed, media, found, n_captions))
    else:
        print(f"{counted(len(files), 'media file')}, {texts_found} from {where}.")
    for _, path, reason in found.faults[:3]:
        print(visible(f"{written_out(path)}: {written_out(reason)}"))
    if len(found.faults) > 3:
        print(f"... and {len(found.faults) - 3} more that cannot be used")
    unread = (
        []
        if captions or packed or media.folder is None
        else [one for one in _tables(media.folder) if one != annotations]
    )
    if unread:
        unread_names = ", ".join(one.name for one in unread[:3]) + ", ..." * (len(unread) > 3)
        found.notes.append(f"not read: {unread_names} (if captions are in it: init with --captions {unread[0]})")
    for note in found.notes:
        print(visible(note))
    print(f"Wrote {config_path}, {counted(len(rows), 'experiment')} and params.yaml. Now: uv run dvc repro")


def _find_captions(media: MediaPlace, files: list[Path], captions: Path | None) -> tuple[Any, Path | None]:
    """Where the captions are: (`captions_from`, annotation file if there is one)."""
    if captions is not None:
        if not captions.exists():
            raise UserError(f"The caption file {captions} does not exist.")
        if captions.suffix.lower() in subtitles.SUFFIXES:
            return "subtitles", captions
        if captions.suffix.lower() not in listing.SUFFIXES:
            raise UserError(f"{captions}: captions come as {', '.join(listing.SUFFIXES + subtitles.SUFFIXES)}.")
        return "listing", captions
    if media.folder is None:
        return "filename", None
    if listings := [one for one in _tables(media.folder) if one.stem.lower() == "captions"]:
        return "listing", listings[0]
    beside = Beside(media, files)
    if any(map(beside.subtitles, files)):
        return "subtitles", None
    return ("text" if any(map(beside.text, files)) else "filename"), None


def _tables(folder: Path) -> list[Path]:
    """What may be caption tables in a folder: CSV first."""
    found = [one for one in folder.iterdir() if one.suffix.lower() in listing.SUFFIXES]
    return sorted(found, key=lambda one: (listing.SUFFIXES.index(one.suffix.lower()), one))


def _keep_dvc_from_unreadable(folder: Path, files: list[Path], unfit: list[Path]) -> None:
    """DVC reads every file of a folder that it watches and stops at one it may not read; ours is then never asked.

    It stops at a name that is not UTF-8 and at a link to itself as well, and waits for ever at a pipe.
    """
    paths = dict.fromkeys([*unfit, *(file for file in files if not os.access(folder / file, os.R_OK))])
    unreadable = [folder / path for path in paths]
    if not unreadable:
        return
    root = Path.cwd().resolve()
    inside = [real.relative_to(root) for path in unreadable if (real := _real(path)).is_relative_to(root)]
    if inside:
        with Path(".dvcignore").open("a", encoding="utf-8") as file:
            file.writelines(f"/{_ignore_pattern(path)}\n" for path in inside)
        print(f"DVC would stop at {counted(len(inside), 'unreadable file')}, so .dvcignore names what it is to skip.")
    if len(inside) < len(unreadable):
        first = next(path for path in unreadable if not _real(path).is_relative_to(root))
        print(
            f"{written_out(first)} cannot be read: DVC stops at such a file. Make it readable, or move it away, before "
            "`dvc repro`."
        )


def _real(path: Path) -> Path:
    """Where a file, or the link itself, lies in the end."""
    return Path(os.path.realpath(path.parent), path.name)


def _ignore_pattern(path: Path) -> str:
    escaped = re.sub(r"([\[\]*?!#])", r"\\\1", path.as_posix())
    return re.sub(r"[\ud800-\udfff]", NOT_A_LETTER, escaped)


def _dump(data: dict[str, Any], path: Path, comment: str) -> None:
    yaml = YAML()
    yaml.default_flow_style = None
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f"# {comment}\n")
        yaml.dump(data, file)
